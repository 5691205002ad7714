//! Apache ZooKeeper's own Java client and Curator's recipes against the server.
//!
//! The programs are `java/*.java`, compiled against Debian's jars; `support` says how to point them at Apache ZooKeeper
//! instead.
#![forbid(unsafe_code)]

mod support;

use support::server::ServerConfig;
use support::tools::run_java;

fn against_a_server(class: &str, shards: usize) {
    // Often enough for the checks that wait for it, and seldom enough that it does not take the empty parents from under
    // recipes that are just making their nodes.
    let server = ServerConfig::new(shards).set("znode.container.checkIntervalMs", "5000").start();
    run_java(class, &[&server.hosts()]);
}

fn client(shards: usize) {
    against_a_server("ClientChecks", shards);
}

fn curator(shards: usize) {
    against_a_server("CuratorChecks", shards);
}

on_one_and_four_shards!(client, curator);
