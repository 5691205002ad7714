//! Where Ringkeeper differs from Apache ZooKeeper 3.8 on purpose, each with its reason.

use crate::answer;
use crate::side::{Item, Side};
use crate::step::{Request, Step};
use crate::support::record::{err, op};

/// What becomes of two items that differ.
pub enum Verdict {
    /// They count as equal.
    Same(&'static str),
    /// They count as equal, but for a watch that the reference has set alone.
    Watching(&'static str),
    /// The reference ends the connection here; it is ended everywhere.
    End(&'static str),
}

/// The requests whose failure takes a place in the order of writes.
fn is_write(code: i32) -> bool {
    matches!(
        code,
        op::CREATE
            | op::CREATE2
            | op::CREATE_CONTAINER
            | op::CREATE_TTL
            | op::DELETE
            | op::SET_DATA
            | op::SET_ACL
            | op::MULTI
            | op::RECONFIG
    )
}

/// Before 3.9 a write that does not decode spent a zxid, which the other counting has to leave out.
pub fn settle_zxid(reference: &mut Side, theirs: &Item, ours: &Item, requests: &[Request]) {
    let (Item::Reply(index, theirs), Item::Reply(_, ours)) = (theirs, ours) else { return };
    let Some(request) = requests.get(*index) else { return };
    let zxid = answer::zxid(theirs);
    let is_malformed = answer::err(theirs) == err::MARSHALLING && answer::err(ours) == err::MARSHALLING;
    if request.code == op::MULTI && is_malformed && answer::has_body(theirs) && reference.newest() < answer::zxid(ours)
    {
        return reference.hide(zxid);
    }
    if is_write(request.code) && is_malformed && reference.canonical(zxid) == answer::zxid(ours) + 1 {
        reference.spend(zxid);
    }
}

/// Where a difference stands.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The connection, which need not be that of the step.
    pub slot: usize,
    pub step: &'a Step,
    pub requests: &'a [Request],
    /// The reference's item as text, and Ringkeeper's.
    pub said: &'a str,
    pub answered: &'a str,
}

fn has_wrong_password(step: &Step) -> bool {
    matches!(step, Step::Open { greeting, .. } if greeting.session.is_some() && greeting.password.is_some())
}

fn is_null_token(step: &Step) -> bool {
    matches!(step, Step::Requests { requests, .. } if requests.iter().any(|one| one.code == op::SASL && one.body.is_null()))
}

/// Whether the results of two multis are the same but for create2, which servers before 3.9 answer as create.
fn is_same_but_for_create2(said: &str, answered: &str) -> bool {
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (said.split(" [").collect(), answered.split(" [").collect());
    let is_same = |(their, our): (&&str, &&str)| {
        let without_stat = our.strip_prefix("15 ").and_then(|result| result.split_once(" stat {"));
        their == our || without_stat.is_some_and(|(result, _)| **their == format!("1 {result}]"))
    };
    theirs.len() == ours.len() && theirs.iter().zip(&ours).all(is_same)
}

/// Whether a difference is one of those on purpose.
pub fn judge(context: &Context<'_>, theirs: &Item, ours: Option<&Item>) -> Option<Verdict> {
    let Context { slot, step, requests, said, answered } = *context;
    let request = match theirs {
        Item::Reply(index, _) => requests.get(*index),
        _ => None,
    };
    let errs = match (theirs, ours) {
        (Item::Reply(_, theirs), Some(Item::Reply(_, ours))) => (answer::err(theirs), answer::err(ours)),
        _ => (0, 0),
    };
    match (request.map(|request| request.code), errs) {
        (Some(op::CHECK_WATCHES), (err::MARSHALLING, err::OK | err::NO_WATCHER)) => {
            Some(Verdict::Same("checkWatches knows the types 4 and 5 since 3.9"))
        }
        (Some(op::EXISTS), (err::OK, err::NO_AUTH)) => {
            let watches = request.is_some_and(|request| request.body.watches());
            let name = "exists needs READ since 3.9";
            Some(if watches { Verdict::Watching(name) } else { Verdict::Same(name) })
        }
        (Some(op::CHECK_WATCHES), (err::OK, err::NO_WATCHER)) => {
            Some(Verdict::Same("checkWatches of 3.8 finds the watches of others"))
        }
        (Some(op::MULTI | op::MULTI_READ), (err::MARSHALLING, err::MARSHALLING)) => {
            Some(Verdict::Same("a multi that trips over something has no body"))
        }
        (Some(op::MULTI), (err::OK, err::OK)) if is_same_but_for_create2(said, answered) => {
            Some(Verdict::Same("create2 in a multi is answered as create2 since 3.9"))
        }
        (Some(op::GET_ALL_CHILDREN_NUMBER), (err::OK, err::OK))
            if request.is_some_and(|one| one.body.is_empty_text()) =>
        {
            Some(Verdict::Same("the reference counts the root below itself when it is asked by its empty name"))
        }
        _ if *theirs == Item::Closed && is_null_token(step) => {
            Some(Verdict::End("a null SASL token is answered as an empty one"))
        }
        _ if *theirs == Item::Closed && slot != step.slot() && has_wrong_password(step) => {
            Some(Verdict::End("a wrong password cuts nobody's connection"))
        }
        _ => None,
    }
}
