//! The connections of one core, by slot.

use super::admission::Place;
use crate::connection::{Connection, ViewEvent};
use engine::ids::{ConnId, SessionId};
use hardware::reactor::SocketId;

/// A connection with what belongs to it on this core.
pub struct Client {
    /// The state machine.
    pub connection: Connection,
    /// Its socket.
    pub socket: SocketId,
    /// Its place among the server's connections, until it is given back.
    pub place: Option<Place>,
    /// Events that the view has reached and the connection has not been given.
    pub events: Vec<ViewEvent>,
    /// Bytes handed to the socket and not known to be sent.
    pub handed: usize,
    /// Whether its socket has been told to receive no more.
    pub paused: bool,
    /// Whether it is queued to be looked after at the end of the turn.
    pub dirty: bool,
    /// Whether it is queued to be stepped with the view.
    pub stepping: bool,
    /// Whether it is queued to go on decoding when there is room.
    pub stalled: bool,
    /// Whether its four-letter word is being answered.
    pub surveyed: bool,
    /// Whether its socket is being closed: nothing more is sent or received.
    pub closing: bool,
    /// The session that it has or had, if any.
    pub session: SessionId,
}

/// Connections by slot; a slot is used again under another generation.
#[derive(Default)]
pub struct Clients {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    client: Option<Box<Client>>,
}

impl Clients {
    /// The id that the next connection will have.
    pub fn next_id(&self) -> ConnId {
        match self.free.last() {
            Some(slot) => ConnId { slot: *slot, generation: self.slots[*slot as usize].generation },
            None => ConnId { slot: self.slots.len() as u32, generation: 0 },
        }
    }

    /// Adds the connection that was made for [`Self::next_id`].
    pub fn insert(&mut self, client: Client) -> ConnId {
        let id = self.next_id();
        if self.free.pop().is_none() {
            self.slots.push(Slot::default());
        }
        self.slots[id.slot as usize].client = Some(Box::new(client));
        id
    }

    /// The connection with this id, if it is still there.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Client> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.client.as_deref_mut() } else { None }
    }

    /// Takes a connection out for good.
    pub fn remove(&mut self, id: ConnId) -> Option<Box<Client>> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        let client = slot.client.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(client)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Client)> {
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| {
            let id = ConnId { slot: at as u32, generation: slot.generation };
            Some((id, slot.client.as_deref_mut()?))
        })
    }
}
