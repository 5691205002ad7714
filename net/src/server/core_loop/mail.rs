//! What comes to a core by mail, from its own state machines and from other cores.

use super::{Core, fatal};
use crate::connection::Connection;
use crate::server::checkpoint;
use crate::server::mail::{ClientMail, Mail};
use crate::server::parts::Parts;
use engine::ids::{ConnId, SessionId};
use engine::zxid::Zxid;
use replication::role::Input;
use tracing::warn;

/// Messages taken out of the mailbox at a time.
const MAIL_BATCH: usize = 4096;

impl Core {
    pub(super) fn drain_mail(&mut self) -> Result<bool, String> {
        let mut mail = std::mem::take(&mut self.mail);
        self.inbox.drain_into(&mut mail, MAIL_BATCH);
        let mut moved = !mail.is_empty();
        for letter in mail.drain(..) {
            self.deliver(letter)?;
        }
        self.mail = mail;
        loop {
            while let Some(letter) = self.parts.post.next_own() {
                moved = true;
                self.deliver(letter)?;
            }
            // What the shard answers to all of it comes at once, and is mail again.
            let Parts { shard, post, .. } = &mut self.parts;
            if let Some(shard) = shard {
                shard.carry_out(&mut self.reactor, post).map_err(fatal)?;
            }
            if !self.parts.post.has_own() {
                return Ok(moved);
            }
        }
    }

    fn deliver(&mut self, mail: Mail) -> Result<(), String> {
        match mail {
            Mail::Role(era, input) => self.parts.pass_to_role(era, input),
            Mail::Shard(mail) => {
                let Parts { shard, post, acls, .. } = &mut self.parts;
                if let Some(shard) = shard {
                    shard.deliver(mail, acls, post).map_err(fatal)?;
                }
            }
            Mail::Client(mail) => self.client_mail(mail),
            Mail::DefineAcl(id, list) => self.parts.acls.define(id, list),
            Mail::Survey { from, number, topic } => {
                let part = Box::new(self.facts(topic));
                self.parts.post.send(from, Mail::Surveyed { number, part });
            }
            Mail::Ask { needs, reply } => self.ask_for_admin(needs, reply),
            Mail::Surveyed { number, part } => self.surveyed(number, *part),
            Mail::WalSegment { sequence, result } => {
                if let Some(role) = &mut self.parts.role {
                    role.wal.prepared(sequence, result);
                }
            }
            Mail::Measured(part) => {
                if let Some(role) = &mut self.parts.role {
                    role.measured(self.parts.now, part, &mut self.parts.post);
                }
            }
            Mail::Snapshot(part) => {
                if let Some(role) = &mut self.parts.role {
                    role.snapshots.part(part, &mut self.parts.post);
                }
            }
            Mail::Cut(cut) => {
                if let Some(all) = self.parts.role.as_mut().and_then(|role| role.cut(cut)) {
                    checkpoint::write(&self.context, all, self.parts.post.return_address()).map_err(fatal)?;
                }
            }
            Mail::ManifestWritten { zxid, result } => {
                let paused = result.map_err(|problem| format!("the checkpoint could not be written: {problem}"))?;
                let Parts { role: Some(role), metrics, post, now, .. } = &mut self.parts else { return Ok(()) };
                role.checkpoint_done(*now, zxid, paused, metrics, post);
            }
            Mail::Removed(result) => {
                if let Err(problem) = result {
                    warn!("a file that is no longer needed stays: {problem}");
                }
            }
            Mail::Dialed { token, result } => {
                let Parts { role: Some(role), post, now, .. } = &mut self.parts else { return Ok(()) };
                if let Some(input) = role.member().and_then(|member| member.dialed(token, result, &mut self.reactor)) {
                    role.step_member(*now, input, post);
                }
            }
            Mail::Serving(serving, era) => self.serve_as(serving, era),
            Mail::Listen(listener) => self.listen_elsewhere(listener),
            Mail::Incoming { number, event } => {
                if let Some(role) = &mut self.parts.role {
                    role.incoming(self.parts.now, number, event, &mut self.parts.post);
                }
            }
            Mail::LogPiece(piece) => {
                if let Some(role) = &mut self.parts.role {
                    role.log_piece(self.parts.now, piece, &mut self.parts.post);
                }
            }
            Mail::ReplaceShard(shard) => self.parts.shard = Some(*shard),
            Mail::Reset(effect) => self.reset(effect),
            Mail::Look => {}
            Mail::RoleDone => self.role_done = true,
            Mail::Shutdown => self.begin_stopping(),
        }
        Ok(())
    }

    /// Notes what connections wait for; what makes them act is kept for [`Self::act`].
    fn client_mail(&mut self, mail: ClientMail) {
        match mail {
            ClientMail::Answer(answer) => {
                self.parts.outstanding = self.parts.outstanding.saturating_sub(1);
                let id = answer.origin.conn;
                self.note(id, |connection| connection.note_answer(answer));
            }
            ClientMail::Stat(captured) => {
                self.note(captured.origin.conn, |connection| connection.note_stat(captured));
            }
            ClientMail::Events(shard, batch) => self.events[usize::from(shard.0)].push_back(batch),
            ClientMail::Taken { view } => self.parts.view.taken(view),
            other => self.acting.push(other),
        }
    }

    fn note(&mut self, id: ConnId, note: impl FnOnce(&mut Connection)) {
        let Some(client) = self.clients.get_mut(id) else { return };
        note(&mut client.connection);
        if !client.stepping {
            client.stepping = true;
            self.stepping.push(id);
        }
    }

    pub(super) fn act(&mut self) -> bool {
        let acting = std::mem::take(&mut self.acting);
        let acted = !acting.is_empty();
        for mail in acting {
            match mail {
                ClientMail::Read(reply) => {
                    self.with(reply.origin.conn, |client, parts| client.connection.read_reply(parts, reply));
                }
                ClientMail::SyncDone { origin, at } => {
                    self.parts.outstanding = self.parts.outstanding.saturating_sub(1);
                    self.with(origin.conn, |client, parts| client.connection.sync_done(parts, origin, at));
                }
                ClientMail::Connected { conn, session, timeout_ms, password, at } => {
                    self.connected(conn, session, timeout_ms, password, at);
                }
                ClientMail::Refused { conn } => self.with(conn, |client, parts| client.connection.refused(parts)),
                ClientMail::Close { conn, at } => {
                    self.with(conn, |client, parts| client.connection.close_at(parts, at));
                }
                ClientMail::Ephemerals { origin, at, paths } => {
                    self.with(origin.conn, |client, parts| client.connection.ephemerals(parts, origin, at, paths));
                }
                ClientMail::Answer(_) | ClientMail::Stat(_) | ClientMail::Events(..) | ClientMail::Taken { .. } => {}
            }
        }
        acted
    }

    fn connected(&mut self, conn: ConnId, session: SessionId, timeout_ms: i32, password: [u8; 16], at: Zxid) {
        if self.clients.get_mut(conn).is_none_or(|client| client.closing) {
            // The client has gone meanwhile; its session lives on until it expires.
            let core = self.parts.id;
            self.parts.tell_role(Input::Disconnected { session, core, conn });
            return;
        }
        self.with(conn, |client, parts| {
            client.session = session;
            client.connection.connected(parts, session, timeout_ms, password, at);
        });
    }
}
