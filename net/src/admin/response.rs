//! What a command answers (`CommandResponse`).

use super::json;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value};

/// Fields by name, in the order in which they are shown.
pub type Fields = Map<String, Value>;

/// A status, and the fields of a JSON object.
#[derive(Clone, PartialEq, Debug)]
pub struct Response {
    /// 200, also for most errors.
    pub status: StatusCode,
    /// The whole object.
    pub fields: Fields,
}

const COMMAND: &str = "command";
const ERROR: &str = "error";

impl Response {
    /// What a command has to say. A field `error` among them is its own error, and keeps its place.
    pub fn new(command: &str, fields: Fields) -> Response {
        let mut fields = fields;
        fields.insert(COMMAND.to_owned(), command.into());
        fields.entry(ERROR).or_insert(Value::Null);
        Response { status: StatusCode::OK, fields }
    }

    /// An error, and no data.
    pub fn error(command: &str, status: StatusCode, error: impl Into<String>) -> Response {
        let mut fields = Fields::new();
        fields.insert(COMMAND.to_owned(), command.into());
        fields.insert(ERROR.to_owned(), error.into().into());
        Response { status, fields }
    }

    /// The text of the object.
    pub fn text(self) -> String {
        json::text(&Value::Object(self.fields))
    }

    /// As it is sent.
    pub fn into_http(self) -> hyper::Response<Full<Bytes>> {
        let status = self.status;
        let mut response = hyper::Response::new(Full::new(Bytes::from(self.text())));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_comes_first_then_command_and_error() {
        let Value::Object(fields) = json!({"z": 1, "a": 2}) else { unreachable!() };
        let text = Response::new("ruok", fields).text();
        assert_eq!(text, "{\n  \"z\" : 1,\n  \"a\" : 2,\n  \"command\" : \"ruok\",\n  \"error\" : null\n}");
        let text = Response::error("x", StatusCode::OK, "Unknown command: x").text();
        assert_eq!(text, "{\n  \"command\" : \"x\",\n  \"error\" : \"Unknown command: x\"\n}");
    }

    #[test]
    fn a_command_names_its_own_error() {
        let Value::Object(fields) = json!({"error": "no"}) else { unreachable!() };
        assert_eq!(Response::new("leader", fields).text(), "{\n  \"error\" : \"no\",\n  \"command\" : \"leader\"\n}");
    }
}
