//! kazoo 2.11, the Python client, against the server: every operation, security, watches, sessions, recipes, words.
//!
//! The scripts are `kazoo/test_*.py`; `support` says how to point them at Apache ZooKeeper instead.
#![forbid(unsafe_code)]

mod support;

use support::server::ServerConfig;
use support::tools::run_kazoo;

fn against_a_server(module: &str, shards: usize) {
    let server = ServerConfig::new(shards)
        .set("znode.container.checkIntervalMs", "500")
        // The super user of kazoo's own test suite: password "test".
        .set("DigestAuthenticationProvider.superDigest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
        .start();
    run_kazoo(module, &[("RINGKEEPER_HOSTS", &server.hosts())]);
}

fn operations(shards: usize) {
    against_a_server("test_ops", shards);
}

fn security(shards: usize) {
    against_a_server("test_security", shards);
}

fn watches(shards: usize) {
    against_a_server("test_watches", shards);
}

fn sessions(shards: usize) {
    against_a_server("test_sessions", shards);
}

fn recipes(shards: usize) {
    against_a_server("test_recipes", shards);
}

fn operator_words(shards: usize) {
    against_a_server("test_operator", shards);
}

on_one_and_four_shards!(operations, security, watches, sessions, recipes, operator_words);
