//! An op as one entry of a request.

use minicbor::data::Type;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use serde::{Deserialize, Serialize, de};

use super::json::{self, Exact};
use crate::id::{OpId, Version};
use crate::op::{Change, OpBody};
use crate::time::{Contact, Reading, Stamp, place};

/// When an op was written, as far as the receiver needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// In the request's own boot session, so many milliseconds before its readings.
    Age(u64),
    /// In another boot session: the wall clock as read then.
    Wall(i64),
}

impl When {
    /// What to say of an op written at `written` in a request with readings `now`.
    pub fn of(written: Reading, now: Reading) -> When {
        if written.boot == now.boot {
            When::Age(u64::try_from(now.mono.saturating_sub(written.mono)).unwrap_or(0))
        } else {
            When::Wall(written.wall)
        }
    }

    /// The stamp the server gives it.
    pub fn place(self, contact: &Contact) -> Stamp {
        let written = match self {
            When::Age(age) => {
                let mono = contact
                    .device
                    .mono
                    .saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
                Reading {
                    mono,
                    ..contact.device
                }
            }
            // Any other boot session: the readings then say nothing about the distance.
            When::Wall(wall) => {
                let boot = crate::id::BootId(!contact.device.boot.0);
                Reading {
                    wall,
                    boot,
                    mono: 0,
                }
            }
        };
        place(written, contact)
    }
}

/// One entry of a request's `ops[]`.
#[derive(Clone, PartialEq, Debug)]
pub enum SentOp {
    /// The op.
    Full {
        /// Its id.
        id: OpId,
        /// When it was written.
        when: When,
        /// What it says.
        body: OpBody,
    },
    /// An op that was accepted but not named yet, or whose fate is asked for: `unknown` brings the
    /// body.
    Named(OpId),
}

impl SentOp {
    /// The op's id.
    pub fn id(&self) -> OpId {
        match self {
            SentOp::Full { id, .. } => *id,
            SentOp::Named(id) => *id,
        }
    }

    /// The parts of a full entry, its body still in bytes; `None` where only its id is told, or where the
    /// bytes are no entry.
    pub fn around(entry: &[u8]) -> Option<(OpId, When, &[u8])> {
        let mut d = Decoder::new(entry);
        let (id, when) = read_head(&mut d).ok()?;
        Some((id, when, entry.get(d.position()..)?))
    }

    /// Encodes a full entry around a body that is encoded already, as a device's queue holds it.
    pub fn encode_around(id: OpId, when: When, body: &[u8]) -> Vec<u8> {
        // A queue of thousands is encoded in one go: growing to each op's size took longer than the rest.
        let mut bytes = Vec::with_capacity(body.len() + AROUND_BYTES);
        match minicbor::encode(Around { id, when, body }, &mut bytes) {
            Ok(()) => bytes,
            #[expect(clippy::unreachable, reason = "a Vec takes every byte")]
            Err(error) => unreachable!("an op that cannot be written: {error}"),
        }
    }
}

/// What an id, and when it was, fit in.
const AROUND_BYTES: usize = 32;

struct Around<'a> {
    id: OpId,
    when: When,
    body: &'a [u8],
}

impl<C> minicbor::Encode<C> for Around<'_> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        head(e, self.id, self.when)?;
        e.writer_mut()
            .write_all(self.body)
            .map_err(encode::Error::write)
    }
}

fn head<W: Write>(e: &mut Encoder<W>, id: OpId, when: When) -> Result<(), encode::Error<W::Error>> {
    e.array(3)?.bytes(&id.0)?;
    match when {
        When::Age(age) => e.u64(age)?.ok(),
        When::Wall(wall) => e.array(1)?.i64(wall)?.ok(),
    }
}

impl<C> minicbor::Encode<C> for SentOp {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            SentOp::Named(id) => e.bytes(&id.0)?.ok(),
            SentOp::Full { id, when, body } => {
                head(e, *id, *when)?;
                body.encode(e, ctx)
            }
        }
    }
}

impl<'b, C> minicbor::Decode<'b, C> for SentOp {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.datatype()? == Type::Bytes {
            return Ok(SentOp::Named(minicbor::Decode::decode(d, ctx)?));
        }
        let (id, when) = read_head(d)?;
        Ok(SentOp::Full {
            id,
            when,
            body: minicbor::Decode::decode(d, ctx)?,
        })
    }
}

fn read_head(d: &mut Decoder<'_>) -> Result<(OpId, When), decode::Error> {
    if d.array()? != Some(3) {
        return Err(decode::Error::message("an op has three parts"));
    }
    let id = d.decode()?;
    if d.datatype()? != Type::Array {
        return Ok((id, When::Age(d.u64()?)));
    }
    if d.array()? != Some(1) {
        return Err(decode::Error::message("a wall clock stands alone"));
    }
    Ok((id, When::Wall(d.i64()?)))
}

/// The JSON form: one object, the body's members beside the id.
#[derive(Serialize)]
struct Written<'a> {
    id: OpId,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<Exact<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall: Option<Exact<i64>>,
    #[serde(flatten)]
    body: &'a OpBody,
}

impl Serialize for SentOp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            SentOp::Named(id) => id.serialize(s),
            SentOp::Full { id, when, body } => {
                let (age, wall) = match *when {
                    When::Age(age) => (Some(Exact(age)), None),
                    When::Wall(wall) => (None, Some(Exact(wall))),
                };
                Written {
                    id: *id,
                    age,
                    wall,
                    body,
                }
                .serialize(s)
            }
        }
    }
}

/// The same as it is read. The body's members are named here again because flattening would hold
/// every unknown member of a hostile request in memory, at many times its weight.
#[derive(Deserialize)]
#[serde(rename = "op")]
struct Read {
    id: OpId,
    #[serde(default)]
    age: Option<Exact<u64>>,
    #[serde(default)]
    wall: Option<Exact<i64>>,
    #[serde(default, with = "json")]
    base: Version,
    schema: u32,
    #[serde(default)]
    changes: Vec<Change>,
    #[serde(default)]
    covers: Vec<OpId>,
    #[serde(default)]
    retry_of: Option<OpId>,
    #[serde(default)]
    withdraw: bool,
}

impl<'de> Deserialize<'de> for SentOp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = SentOp;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an op, or an op's id")
            }
            fn visit_str<E: de::Error>(self, id: &str) -> Result<SentOp, E> {
                id.parse().map(SentOp::Named).map_err(E::custom)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, members: A) -> Result<SentOp, A::Error> {
                Read::deserialize(de::value::MapAccessDeserializer::new(members))?.try_into()
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl Read {
    fn try_into<E: de::Error>(self) -> Result<SentOp, E> {
        let when = match (self.age, self.wall) {
            (Some(_), Some(_)) => return Err(E::custom("expected age or wall, not both")),
            (age, None) => When::Age(age.map_or(0, |age| age.0)),
            (None, Some(wall)) => When::Wall(wall.0),
        };
        Ok(SentOp::Full {
            id: self.id,
            when,
            body: OpBody {
                base: self.base,
                schema: self.schema,
                changes: self.changes,
                covers: self.covers,
                retry_of: self.retry_of,
                withdraw: self.withdraw,
            },
        })
    }
}
