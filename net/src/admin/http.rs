//! HTTP/1.1: methods, paths, and bounds (`JettyAdminServer`).
//!
//! Bounds: [`CONNECTIONS_MAX`] connections at a time (others wait in the kernel's queue), [`HEAD_BYTES_MAX`] of a request's
//! head, no bytes of a body (none of the commands takes one), and the idle timeout for everything else.

use super::commands::{self, Arguments};
use super::idle::Idle;
use super::response::Response;
use super::{Command, Method as CommandMethod, Source, Unanswered, access};
use crate::connection::AuthPolicy;
use crate::four_letter::NOT_SERVING;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's line and headers; more is answered with 431.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// Answers that are put together at a time: each may hold the list of all connections or watches.
const ANSWERS_MAX: usize = 2;
/// Between two tries to accept, when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `admin.commandURL`: what paths begin with.
    pub command_url: String,
    /// `admin.idleTimeout`; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// How those who ask prove who they are.
    pub auth: AuthPolicy,
}

struct Server<S> {
    settings: Settings,
    source: S,
    answers: Semaphore,
}

/// Serves whoever connects, until it is dropped.
pub async fn serve<S: Source>(listener: TcpListener, settings: Settings, source: S) -> Infallible {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let server = Arc::new(Server { settings, source, answers: Semaphore::new(ANSWERS_MAX) });
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(problem) => {
                warn!("accepting a connection to the admin server failed: {problem}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let idle_timeout = server.settings.idle_timeout;
            let service = service_fn(|request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(request, peer).await) }
            });
            let io = TokioIo::new(Idle::new(stream, idle_timeout));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(idle_timeout)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(io, service)
                .await;
            if let Err(problem) = served {
                debug!(%peer, "a connection to the admin server ended: {problem}");
            }
            drop(permit);
        });
    }
}

/// Where a path leads.
#[derive(PartialEq, Eq, Debug)]
enum Place<'a> {
    List,
    Command(&'a str),
    Nowhere,
}

/// The place of a path, when all begin with `root`.
fn place<'a>(root: &str, path: &'a str) -> Place<'a> {
    match path.strip_prefix(root) {
        Some("" | "/") => Place::List,
        Some(rest) => rest.strip_prefix('/').map_or(Place::Nowhere, Place::Command),
        None => Place::Nowhere,
    }
}

impl<S: Source> Server<S> {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> hyper::Response<Full<Bytes>> {
        let method = match *request.method() {
            Method::TRACE => return plain(StatusCode::FORBIDDEN),
            Method::GET | Method::HEAD => CommandMethod::Get,
            Method::POST => CommandMethod::Post,
            Method::OPTIONS => return with_allowed(plain(StatusCode::OK)),
            _ => return with_allowed(plain(StatusCode::METHOD_NOT_ALLOWED)),
        };
        match place(&self.settings.command_url, request.uri().path()) {
            Place::Nowhere => plain(StatusCode::NOT_FOUND),
            Place::List => list(&self.settings.command_url),
            Place::Command(name) => self.run(name, method, &request, peer.ip()).await,
        }
    }

    async fn run(
        &self,
        name: &str,
        method: CommandMethod,
        request: &Request<Incoming>,
        peer: IpAddr,
    ) -> hyper::Response<Full<Bytes>> {
        let Some(command) = Command::named(name) else {
            return Response::error(name, StatusCode::OK, format!("Unknown command: {name}")).into_http();
        };
        if command.method() != method {
            let (status, wanted) = match command.method() {
                CommandMethod::Get => (StatusCode::METHOD_NOT_ALLOWED, "GET"),
                CommandMethod::Post => (StatusCode::METHOD_NOT_ALLOWED, "POST"),
            };
            let error = format!("{} takes the method {wanted}", command.name());
            let mut response = Response::error(command.name(), status, error).into_http();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(wanted));
            return response;
        }
        let _turn = self.answers.acquire().await;
        let facts = match self.source.facts(command).await {
            Ok(facts) => facts,
            Err(Unanswered::Stopping) => return Response::error(name, StatusCode::OK, NOT_SERVING).into_http(),
            Err(Unanswered::Late) => {
                let error = "the server is busy and has not answered in time: ask again";
                return Response::error(name, StatusCode::SERVICE_UNAVAILABLE, error).into_http();
            }
        };
        if command.is_guarded() && !commands::is_refused(command, &facts) {
            let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
            let auth = &self.settings.auth;
            if let Err((status, error)) = access::check(header, peer, auth, &facts.snapshot.root_acl) {
                return Response::error(name, status, error).into_http();
            }
        }
        let answer = commands::answer(command, name, &arguments(request.uri().query()), &facts);
        if let Some(effect) = answer.effect {
            self.source.carry_out(effect).await;
        }
        answer.response.into_http()
    }
}

/// The first value of each name.
fn arguments(query: Option<&str>) -> Arguments {
    let mut arguments = Arguments::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        arguments.entry(name.into_owned()).or_insert(value.into_owned());
    }
    arguments
}

/// A link to each command.
fn list(root: &str) -> hyper::Response<Full<Bytes>> {
    let mut text = String::new();
    for command in Command::ALL {
        let name = command.name();
        text.push_str(&format!("<a href=\"{root}/{name}\">{name}</a>\n<br/>\n"));
    }
    let mut response = hyper::Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html;charset=utf-8"));
    response
}

fn plain(status: StatusCode) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn with_allowed(mut response: hyper::Response<Full<Bytes>>) -> hyper::Response<Full<Bytes>> {
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_the_list_a_command_or_nowhere() {
        for (path, wanted) in [
            ("/commands", Place::List),
            ("/commands/", Place::List),
            ("/commands/ruok", Place::Command("ruok")),
            ("/commands/a/b", Place::Command("a/b")),
            ("/commandsx", Place::Nowhere),
            ("/", Place::Nowhere),
            ("/metrics", Place::Nowhere),
        ] {
            assert_eq!(place("/commands", path), wanted, "{path}");
        }
        assert_eq!(place("", "/ruok"), Place::Command("ruok"));
    }

    #[test]
    fn the_first_argument_of_a_name_counts() {
        let arguments = arguments(Some("traceMask=%2D1&traceMask=2&flag"));
        assert_eq!(arguments.get("traceMask").map(String::as_str), Some("-1"));
        assert_eq!(arguments.get("flag").map(String::as_str), Some(""));
    }
}
