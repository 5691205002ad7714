//! The admin server: its list, its commands, its errors, and its bounds. What the reference does otherwise or does not
//! do at all is asked of Ringkeeper alone.

use crate::on_one_and_four_shards;
use crate::support::http::{admin_address, answer, connect, get, keys, request, try_request};
use crate::support::record::{self, op};
use crate::support::server::{Server, ServerConfig, four_letter};
use crate::support::session::Session;
use crate::support::{only_ringkeeper, wait_for};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

on_one_and_four_shards!(
    the_list_names_every_command,
    errors_of_names_paths_and_methods,
    facts_of_the_server,
    connections_sessions_and_watches,
    monitor_has_numbers,
    resets_and_the_trace_mask,
    guarded_commands_want_every_permission,
    bad_requests_do_no_harm,
    a_silent_connection_is_closed,
    a_taken_port_does_not_stop_the_server,
    it_can_be_turned_off,
);

fn config(shards: usize) -> ServerConfig {
    ServerConfig::new(shards)
        .set("admin.enableServer", "true")
        .set("admin.serverAddress", "127.0.0.1")
        .set("admin.serverPort", "0")
}

fn start(shards: usize) -> Option<(Server, SocketAddr)> {
    start_as(config(shards))
}

/// `None` if the reference is under test, which does not say where it listens.
fn start_as(config: ServerConfig) -> Option<(Server, SocketAddr)> {
    if only_ringkeeper("the admin server on any free port") {
        return None;
    }
    let mut server = config.start();
    let address = admin_address(server.process());
    Some((server, address))
}

/// Whether the object has these members, then `command` and `error`, which is null.
fn expect_keys(answer: &Value, command: &str, data: &[&str]) {
    let wanted: Vec<&str> = data.iter().copied().chain(["command", "error"]).collect();
    assert_eq!(keys(answer), wanted);
    assert_eq!((&answer["command"], &answer["error"]), (&json!(command), &Value::Null));
}

fn the_list_names_every_command(shards: usize) {
    let Some((_server, address)) = start(shards) else { return };
    for path in ["/commands", "/commands/"] {
        let list = request(address, "GET", path, "", "");
        assert_eq!(list.status, 200);
        let links: Vec<&str> = list.body.lines().filter(|line| *line != "<br/>").collect();
        assert_eq!(links[0], "<a href=\"/commands/configuration\">configuration</a>");
        assert_eq!(links.len(), 28);
        assert!(links.is_sorted());
        // Every link leads somewhere.
        for link in links {
            let name = link.split('"').nth(1).unwrap();
            assert!(!request(address, "GET", name, "", "").body.contains("Unknown command"), "{name}");
        }
    }
}

fn errors_of_names_paths_and_methods(shards: usize) {
    let Some((_server, address)) = start(shards) else { return };
    let unknown = request(address, "GET", "/commands/nosuch", "", "");
    assert_eq!(unknown.status, 200);
    assert_eq!(unknown.body, "{\n  \"command\" : \"nosuch\",\n  \"error\" : \"Unknown command: nosuch\"\n}");
    assert!(unknown.head.to_ascii_lowercase().contains("content-type: application/json"));
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
        ("GET", "/commandsx", 404),
        ("TRACE", "/commands/ruok", 403),
        ("TRACE", "/", 403),
        ("POST", "/commands/ruok", 405),
        ("POST", "/commands/nosuch", 200),
        ("GET", "/commands/restore", 405),
        ("PUT", "/commands/ruok", 405),
        ("DELETE", "/commands/ruok", 405),
        ("HEAD", "/commands/ruok", 200),
    ] {
        assert_eq!(request(address, method, path, "", "").status, status, "{method} {path}");
    }
    let refused = request(address, "POST", "/commands/stat", "", "some body");
    assert_eq!((refused.status, refused.json()["command"].clone()), (405, json!("stats")));
    assert_eq!(get(address, "/commands/leader"), json!({"error": "server is not initialized", "command": "leader"}));
}

fn facts_of_the_server(shards: usize) {
    let Some((server, address)) = start(shards) else { return };
    expect_keys(&get(address, "/commands/ruok"), "ruok", &[]);
    let conf = get(address, "/commands/conf");
    let names = [
        "client_port",
        "data_dir",
        "data_log_dir",
        "tick_time",
        "max_client_cnxns",
        "min_session_timeout",
        "max_session_timeout",
        "server_id",
        "client_port_listen_backlog",
    ];
    expect_keys(&conf, "configuration", &names);
    assert_eq!((&conf["client_port"], &conf["tick_time"]), (&json!(server.address().port()), &json!(1000)));
    let dirs = get(address, "/commands/dirs");
    expect_keys(&dirs, "dirs", &["datadir_size", "logdir_size"]);
    assert!(dirs["datadir_size"].is_u64() && dirs["logdir_size"].as_u64() > Some(0));
    let environment = get(address, "/commands/env");
    assert_eq!(environment["os.name"], "Linux");
    assert!(environment["zookeeper.version"].as_str().unwrap().starts_with("3."));
    let mask = get(address, "/commands/gtmk");
    expect_keys(&mask, "get_trace_mask", &["tracemask"]);
    expect_keys(&get(address, "/commands/hash"), "hash", &["digests"]);
    expect_keys(&get(address, "/commands/icfg"), "initial_configuration", &["initial_configuration"]);
    let read_only = get(address, "/commands/isro");
    expect_keys(&read_only, "is_read_only", &["read_only"]);
    assert_eq!(read_only["read_only"], false);
    let last = get(address, "/commands/lsnp");
    expect_keys(&last, "last_snapshot", &["zxid", "timestamp"]);
    assert!(u64::from_str_radix(last["zxid"].as_str().unwrap(), 16).is_ok());
    let observers = get(address, "/commands/obsr");
    expect_keys(&observers, "observers", &["synced_observers", "observers"]);
    assert_eq!((&observers["synced_observers"], &observers["observers"]), (&json!(0), &json!([])));
    expect_keys(&get(address, "/commands/orst"), "observer_connection_stat_reset", &[]);
    let properties = get(address, "/commands/sysp");
    assert_eq!(properties["zookeeper.4lw.commands.whitelist"], "*");
    assert_eq!(properties["command"], "system_properties");
    let view = get(address, "/commands/voting_view");
    expect_keys(&view, "voting_view", &["current_config"]);
    assert_eq!(view["current_config"], json!({}));
    let state = get(address, "/commands/zabstate");
    expect_keys(&state, "zabstate", &["voting", "zabstate"]);
    assert_eq!((&state["voting"], &state["zabstate"]), (&json!(false), &json!("")));
}

fn connections_sessions_and_watches(shards: usize) {
    let Some((server, address)) = start(shards) else { return };
    let mut session = Session::open(server.address());
    session.create("/w", b"data");
    session.create_as("/e", record::mode::EPHEMERAL);
    session.call(op::GET_DATA, &record::read("/w", true)).ok();
    let id = session.hello().id;

    let connections = get(address, "/commands/cons");
    expect_keys(&connections, "connections", &["connections", "secure_connections"]);
    let own = connections["connections"].as_array().unwrap().iter().find(|one| one["session_id"] == id).unwrap();
    let brief = ["remote_socket_address", "interest_ops", "outstanding_requests", "packets_received", "packets_sent"];
    let full = [
        "session_id",
        "last_operation",
        "established",
        "session_timeout",
        "last_cxid",
        "last_zxid",
        "last_response_time",
        "last_latency",
        "min_latency",
        "avg_latency",
        "max_latency",
    ];
    assert_eq!(keys(own), [&brief[..], &full[..]].concat());
    assert_eq!(own["last_operation"], "GETD");
    assert!(own["remote_socket_address"].as_str().unwrap().starts_with("127.0.0.1:"));

    let stats = get(address, "/commands/stat");
    let names =
        ["version", "read_only", "server_stats", "client_response", "node_count", "connections", "secure_connections"];
    expect_keys(&stats, "stats", &names);
    assert_eq!(keys(&stats["connections"][0]), brief);
    let server_stats = get(address, "/commands/srvr");
    expect_keys(&server_stats, "server_stats", &names[..5]);
    let inner = &server_stats["server_stats"];
    assert_eq!((&inner["server_state"], &inner["provider_null"]), (&json!("standalone"), &json!(false)));
    assert_eq!(keys(&inner["client_response_stats"]), ["last_buffer_size", "min_buffer_size", "max_buffer_size"]);
    assert!(inner["avg_latency"].is_f64() && inner["packets_received"].as_u64() > Some(2));
    assert!(inner["last_processed_zxid"].as_i64() >= Some(session.zxid()));

    let dump = get(address, "/commands/dump");
    expect_keys(&dump, "dump", &["expiry_time_to_session_ids", "session_id_to_ephemeral_paths"]);
    let expiring: Vec<&Value> = dump["expiry_time_to_session_ids"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|ids| ids.as_array().unwrap())
        .collect();
    assert_eq!(expiring, [&json!(id)]);
    assert_eq!(dump["session_id_to_ephemeral_paths"], json!({id.to_string(): ["/e"]}));

    let summary = get(address, "/commands/wchs");
    expect_keys(&summary, "watch_summary", &["num_connections", "num_paths", "num_total_watches"]);
    assert_eq!(summary["num_total_watches"], 1);
    let watches = get(address, "/commands/wchc");
    assert_eq!(watches["session_id_to_watched_paths"], json!({id.to_string(): ["/w"]}));
    assert_eq!(get(address, "/commands/wchp")["path_to_session_ids"], json!({"/w": [id]}));
}

fn monitor_has_numbers(shards: usize) {
    let Some((server, address)) = start(shards) else { return };
    let monitor = get(address, "/commands/mntr");
    assert_eq!((&monitor["command"], &monitor["server_state"]), (&json!("monitor"), &json!("standalone")));
    let words = four_letter(server.address(), b"mntr").unwrap();
    for line in words.lines() {
        let (name, text) = line.strip_prefix("zk_").unwrap().split_once('\t').unwrap();
        let value = &monitor[name];
        assert_eq!(value.is_number(), text.parse::<f64>().is_ok(), "{name}: {value} and {text}");
    }
    assert_eq!(keys(&monitor).len(), words.lines().count() + 2);
    assert_eq!(monitor["znode_count"], 5);
}

fn resets_and_the_trace_mask(shards: usize) {
    let Some((server, address)) = start(shards) else { return };
    let mut session = Session::open(server.address());
    for _ in 0..200 {
        session.get("/");
    }
    let received = || get(address, "/commands/monitor")["packets_received"].as_u64().unwrap();
    assert!(received() > 200);
    expect_keys(&get(address, "/commands/stat_reset"), "stat_reset", &[]);
    // A core takes the reset in before the question that comes behind it.
    assert!(received() < 200);
    let id = session.hello().id;
    let own = || {
        let all = get(address, "/commands/connections")["connections"].as_array().unwrap().clone();
        all.iter().find(|one| one["session_id"] == id).unwrap()["packets_received"].as_u64().unwrap()
    };
    assert!(own() > 200);
    expect_keys(&get(address, "/commands/crst"), "connection_stat_reset", &[]);
    assert!(own() < 200);

    assert_eq!(get(address, "/commands/stmk")["error"], "setTraceMask requires long traceMask argument");
    let wrong = get(address, "/commands/stmk?traceMask=x");
    assert_eq!(wrong["error"], "setTraceMask requires long traceMask argument, got x");
    assert_eq!(get(address, "/commands/stmk?traceMask=-7")["tracemask"], -7);
    assert_eq!(get(address, "/commands/gtmk")["tracemask"], -7);
    assert_eq!(four_letter(server.address(), b"gtmk").unwrap(), "-7");
}

fn guarded_commands_want_every_permission(shards: usize) {
    let Some((server, address)) = start(shards) else { return };
    let ask = |header: &str| {
        let headers = if header.is_empty() { String::new() } else { format!("Authorization: {header}\r\n") };
        let answer = request(address, "GET", "/commands/snapshot", &headers, "");
        (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    let denied = |status: u16, error: &str| (status, error.to_owned());
    assert_eq!(ask(""), denied(401, "Auth info is missing for the command"));
    assert_eq!(ask("sasl x"), denied(401, "Not authenticated"));
    // The open ACL of the root lets everybody through, to what is not there.
    let (status, error) = ask("digest joe:pw");
    assert_eq!(status, 503);
    assert!(error.contains("ringkeeper export"), "{error}");
    let mut session = Session::open(server.address());
    session.auth("digest", b"joe:pw").ok();
    session.call(op::SET_ACL, &record::set_acl("/", &[(31, "auth", "")], -1)).ok();
    assert_eq!(ask("digest jim:pw"), denied(403, "Not authorized"));
    assert_eq!(ask("digest joe:pw").0, 503);
    assert_eq!(request(address, "POST", "/commands/restore", "", "bytes").status, 401);
    assert_eq!(request(address, "POST", "/commands/rest", "Authorization: digest joe:pw\r\n", "bytes").status, 503);
}

fn bad_requests_do_no_harm(shards: usize) {
    let Some((server, address)) = start(shards) else { return };
    // Heads that never end, and more connections than are served at a time, do not keep the others out for ever.
    let mut stuck = connect(address);
    stuck.write_all(b"GET /commands/ruok HT").unwrap();
    let mut large = connect(address);
    large.write_all(b"GET /commands/ruok HTTP/1.1\r\nHost: x\r\nX: ").unwrap();
    // The server may close before everything is sent.
    let _ = large.write_all(&[b'x'; 100_000]);
    let mut text = Vec::new();
    let _ = large.read_to_end(&mut text);
    assert!(text.is_empty() || text.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&text));
    let mut garbage = connect(address);
    garbage.write_all(b"\0\0\0\x01 none of HTTP\r\n\r\n").unwrap();
    assert_eq!(answer(garbage).unwrap().status, 400);
    expect_keys(&get(address, "/commands/ruok"), "ruok", &[]);
    assert_eq!(four_letter(server.address(), b"ruok").unwrap(), "imok");
}

fn a_silent_connection_is_closed(shards: usize) {
    let Some((_server, address)) = start_as(config(shards).set("admin.idleTimeout", "300")) else { return };
    // More than are served at a time, half of them in the middle of a head.
    let mut silent: Vec<_> = (0..150).map(|_| connect(address)).collect();
    for stream in silent.iter_mut().step_by(2) {
        stream.write_all(b"GET /comm").unwrap();
    }
    for mut stream in silent {
        let mut text = Vec::new();
        // To its end, orderly or not; within the time that reads may take.
        if let Err(problem) = stream.read_to_end(&mut text) {
            assert_eq!(problem.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    // A machine that stalls may be silent for too long itself.
    let answer = wait_for("an answer", Duration::from_secs(60), || {
        try_request(address, "GET", "/commands/ruok", "", "").ok().filter(|answer| answer.status == 200)
    });
    expect_keys(&answer.json(), "ruok", &[]);
}

fn a_taken_port_does_not_stop_the_server(shards: usize) {
    if only_ringkeeper("Java ends where the port of its admin server is taken") {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut server = config(shards).set("admin.serverPort", &port).start();
    Session::open(server.address()).create("/served", b"");
    let log = server.process().log();
    let warning = log.lines().find(|line| line.contains("there is no admin server")).unwrap();
    for part in ["WARN", &port, "admin.serverPort", "admin.enableServer=false"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

fn it_can_be_turned_off(shards: usize) {
    if only_ringkeeper("what its log says") {
        return;
    }
    let mut server = config(shards).set("admin.enableServer", "false").start();
    assert!(!server.process().log().contains("admin server"));
    assert!(server.stop().success());
}
