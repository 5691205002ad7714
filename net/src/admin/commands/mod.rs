//! From facts to responses. Each function returns the data of one command; what all have in common is here.

mod clients;
mod ensemble;
mod server;
mod watches;

use super::response::{Fields, Response};
use super::{Command, Facts};
use crate::connection::Serving;
use crate::four_letter::{Effect, NOT_SERVING};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Arguments of a query, the first of each name.
pub type Arguments = BTreeMap<String, String>;

/// What is answered, and what is to be done besides.
pub struct Answer {
    /// The answer.
    pub response: Response,
    /// What the command changes.
    pub effect: Option<Effect>,
}

/// What is said of `snapshot` and `restore`.
const OFFLINE: &str = "not available while the server runs: stop it and use 'ringkeeper export' or 'ringkeeper import'";

/// Answers a command that was asked for by `name`. Access to guarded ones has been checked.
pub fn answer(command: Command, name: &str, arguments: &Arguments, facts: &Facts) -> Answer {
    let plain = |response| Answer { response, effect: None };
    if is_refused(command, facts) {
        return plain(Response::error(name, StatusCode::OK, NOT_SERVING));
    }
    let mut effect = None;
    let data = match command {
        Command::Configuration => server::configuration(facts),
        Command::ConnectionStatReset => {
            effect = Some(Effect::ResetConnections);
            json!({})
        }
        Command::Connections => clients::connections(facts),
        Command::Dirs => server::dirs(facts),
        Command::Dump => clients::dump(facts),
        Command::Environment => server::pairs(&facts.snapshot.environment),
        Command::GetTraceMask => json!({"tracemask": facts.snapshot.trace_mask}),
        Command::Hash => server::hash(facts),
        Command::InitialConfiguration => json!({"initial_configuration": facts.initial_configuration.as_deref()}),
        Command::IsReadOnly => json!({"read_only": server::is_read_only(facts)}),
        Command::LastSnapshot => server::last_snapshot(facts),
        Command::Leader => ensemble::leader(facts),
        Command::Monitor => server::monitor(facts),
        // There are no counters of observers' connections.
        Command::ObserverConnectionStatReset | Command::Ruok => json!({}),
        Command::Observers => ensemble::observers(facts),
        Command::Snapshot | Command::Restore => {
            return plain(Response::error(command.name(), StatusCode::SERVICE_UNAVAILABLE, OFFLINE));
        }
        Command::ServerStats => server::stats(facts),
        Command::SetTraceMask => match trace_mask(arguments) {
            Ok(mask) => {
                effect = Some(Effect::SetTraceMask(mask));
                json!({"tracemask": mask})
            }
            Err(error) => json!({"error": error}),
        },
        Command::StatReset => {
            effect = Some(Effect::ResetServer);
            json!({})
        }
        Command::Stats => clients::stats(facts),
        Command::SystemProperties => server::pairs(&facts.properties),
        Command::VotingView => ensemble::voting_view(facts),
        Command::WatchSummary => watches::summary(facts),
        Command::Watches => watches::by_session(facts),
        Command::WatchesByPath => watches::by_path(facts),
        Command::ZabState => ensemble::zab_state(facts),
    };
    let fields = match data {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    };
    Answer { response: Response::new(command.name(), fields), effect }
}

/// Whether a command is not answered because clients are not served.
pub fn is_refused(command: Command, facts: &Facts) -> bool {
    facts.snapshot.serving == Serving::No && !command.is_answered_always()
}

fn trace_mask(arguments: &Arguments) -> Result<i64, String> {
    let text = arguments.get("traceMask").ok_or("setTraceMask requires long traceMask argument")?;
    text.parse().map_err(|_| format!("setTraceMask requires long traceMask argument, got {text}"))
}
