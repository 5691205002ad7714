//! A core's view: when it moves on, and what becomes due with it.

use super::Core;
use crate::connection::ViewEvent;
use engine::shard::EventBatch;
use engine::zxid::Zxid;

/// Connections with something to send from which on sending does not wait for the end of the turn. Fewer are quicker
/// served one after the other and then sent to in one go; with more the first grow cold meanwhile and their peers sit idle.
/// Tests reach it with fewer.
const SEND_EARLY: usize = if cfg!(debug_assertions) { 128 } else { 1024 };

impl Core {
    /// Whether somebody here waits for the view to move.
    pub(super) fn waits_for_view(&self) -> bool {
        !self.stepping.is_empty() || self.events.iter().any(|queue| !queue.is_empty())
    }

    /// The view was left behind while the core slept: it steps before anybody reads.
    pub(super) fn settle_to(&mut self, passed: Zxid) -> Result<(), String> {
        self.drain_mail()?;
        if let Some(shard) = &mut self.parts.shard {
            shard.publish(&self.marks, &mut self.parts.post);
        }
        let passed = if self.marks_are_ours() { self.parts.view.ahead() } else { passed };
        self.step_view(passed);
        Ok(())
    }

    /// Whether shard and role live here alone, so that the marks only move by what this core does.
    pub(super) fn marks_are_ours(&self) -> bool {
        self.parts.topology.cores() == 1
    }

    /// Moves the view, and with it everything that belongs to the zxids that it passes.
    pub(super) fn step_view(&mut self, to: Zxid) -> bool {
        let stepped = to > self.parts.view.now();
        if stepped {
            self.parts.view.step(to);
            if let Some(shard) = &mut self.parts.shard {
                shard.views_have_moved(&self.marks);
            }
        }
        let view = self.parts.view.now();
        self.deliver_events(view);
        let waiting = std::mem::take(&mut self.stepping);
        for id in waiting {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let due = client.connection.next_view().is_some_and(|at| at <= view);
            if due || !client.events.is_empty() {
                client.stepping = false;
                let events = std::mem::take(&mut client.events);
                self.with(id, |client, parts| client.connection.step_view(parts, &events));
                self.send_early();
            } else if client.connection.next_view().is_some() {
                self.stepping.push(id);
            } else {
                client.stepping = false;
            }
        }
        stepped
    }

    /// Once many connections have something to send: gets the log and the first of them going, and goes on meanwhile.
    fn send_early(&mut self) {
        if self.dirty.len() < SEND_EARLY {
            return;
        }
        if let Some(role) = &mut self.parts.role {
            role.submit_log(&mut self.reactor, &mut self.parts.post);
        }
        self.look_after_dirty();
        self.reactor.send_now();
    }

    /// Gives each connection the events that the view has reached, in order of zxid and within one in ZooKeeper's. All that
    /// is left to do when this returns are the connections in `stepping`.
    fn deliver_events(&mut self, view: Zxid) {
        let mut due: Vec<EventBatch> = Vec::new();
        for queue in &mut self.events {
            while let Some(batch) = queue.pop_front_if(|batch| batch.zxid <= view) {
                due.push(batch);
            }
        }
        due.sort_by_key(|batch| (batch.zxid, batch.order));
        if let [EventBatch { zxid, acl, frame, conns, .. }] = due.as_slice() {
            // A single event, perhaps for very many: each connection is touched once.
            let event = [ViewEvent { zxid: *zxid, acl: *acl, frame: frame.clone() }];
            for id in conns.iter() {
                if self.clients.get_mut(*id).is_some_and(|client| !client.closing) {
                    self.with(*id, |client, parts| client.connection.step_view(parts, &event));
                    self.send_early();
                }
            }
            return;
        }
        for batch in due {
            for id in batch.conns.iter() {
                let Some(client) = self.clients.get_mut(*id).filter(|client| !client.closing) else { continue };
                client.events.push(ViewEvent { zxid: batch.zxid, acl: batch.acl, frame: batch.frame.clone() });
                if !client.stepping {
                    client.stepping = true;
                    self.stepping.push(*id);
                }
            }
        }
    }
}
