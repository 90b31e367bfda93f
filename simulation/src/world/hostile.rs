//! Somebody with a token who sends what no honest device sends.

use driftline::transport::HttpRequest;
use driftline_core::id::{BootId, DocumentId, OpId};
use driftline_core::op::{Change, ChangeKind, OpBody};
use driftline_core::protocol::{
    Cursor, Device, Form, LiveFrame, PROTOCOL, SentOp, SyncRequest, When, compress, decode, encode,
};
use driftline_core::time::Reading;
use driftline_core::value::Value;
use driftline_server::auth::Role;
use driftline_simvfs::Random;

use super::World;
use super::write::draw_document;
use crate::machine::{Account, WORKSPACE};
use crate::oracles::{self, CANARY, Judgement, Violation};

/// Where somebody else keeps what is none of this workspace's business.
const OTHER_WORKSPACE: &str = "office";

/// The status with which a live socket opens.
const SWITCHING: u16 = 101;

/// A request made up, and what may come of it.
struct MadeUp {
    what: &'static str,
    account: &'static str,
    /// The workspace that the token is for, and the one that is asked.
    token_for: &'static str,
    asks: &'static str,
    body: Vec<u8>,
    /// Whether it must be refused as a whole.
    must_fail: bool,
    /// Whether its op must not be accepted, ever.
    unwelcome: bool,
    role: Role,
}

impl World<'_> {
    /// Sends something made up; the server answers it while time passes.
    pub(super) fn hostile(&mut self, random: &mut Random) -> Judgement {
        let live = random.one_in(3);
        let made_up = self.make_up(random, live);
        self.count(made_up.what);
        let account = Account {
            name: made_up.account.to_owned(),
            role: made_up.role,
        };
        // A token that cannot be made is no attack.
        let Ok(token) = account.token_for(made_up.token_for, self.tasks.now()) else {
            return Ok(());
        };
        let (method, endpoint) = if live {
            ("GET", "live")
        } else {
            ("POST", "sync")
        };
        let mut request = HttpRequest {
            method,
            url: format!("http://server/v1/workspaces/{}/{endpoint}", made_up.asks),
            headers: vec![
                ("authorization".to_owned(), format!("Bearer {token}")),
                ("content-type".to_owned(), "application/cbor".to_owned()),
                ("accept".to_owned(), "application/cbor".to_owned()),
            ],
            body: Vec::new(),
            idle_timeout_ms: 30_000,
        };
        let answer = match live {
            true => self.said_on_a_socket(&request, made_up.body)?,
            false => {
                request.body = made_up.body;
                let mut answer = self.network.stranger(&request);
                self.pass(0)?;
                answer.answer()
            }
        };
        let Some((status, bytes)) = answer else {
            return Ok(());
        };
        let what = made_up.what;
        self.trace
            .line(format_args!("    {what}: {status}, {} bytes", bytes.len()));
        if made_up.asks == WORKSPACE {
            oracles::no_canary(&bytes, "an answer")?;
        }
        let met_a_fault = self.server.met() > 0;
        oracles::server_answers(status, met_a_fault, what)?;
        oracles::refused(made_up.must_fail, status, met_a_fault, what)
    }

    /// Says it on a live socket; the status that a request would have been answered with, and all that came.
    fn said_on_a_socket(
        &mut self,
        request: &HttpRequest,
        says: Vec<u8>,
    ) -> Result<Option<(u16, Vec<u8>)>, Violation> {
        let mut socket = self.network.stranger_on_a_socket(request, says);
        self.pass(0)?;
        self.count("hostile: on a live socket");
        match socket.answer() {
            Some((SWITCHING, _)) => {}
            refused => return Ok(refused),
        }
        let heard = socket.heard();
        // Versions may come before it.
        let status = |frame: &Vec<u8>| match decode::<LiveFrame>(Form::Cbor, frame) {
            Ok(LiveFrame::Failed { status, .. }) => Some(status),
            Ok(LiveFrame::Response(_)) => Some(200),
            _ => None,
        };
        let answer = heard.iter().find_map(status);
        Ok(answer.map(|status| (status, heard.concat())))
    }

    fn make_up(&mut self, random: &mut Random, live: bool) -> MadeUp {
        let kinds = 18;
        let mut made_up = MadeUp {
            what: "hostile: a stranger's honest write",
            account: ["eve", "ann"][random.below(2)],
            token_for: WORKSPACE,
            asks: WORKSPACE,
            body: Vec::new(),
            must_fail: false,
            unwelcome: false,
            role: Role::Writer,
        };
        let mut op = self.stranger_op(random);
        match random.below(kinds) {
            0 => {}
            1 => {
                made_up.what = "hostile: noise";
                made_up.must_fail = true;
                let mut noise = vec![0; random.below(3_000)];
                random.fill(&mut noise);
                made_up.body = noise;
                return made_up;
            }
            2 => {
                made_up.what = "hostile: a cut message";
                made_up.must_fail = true;
                made_up.body = request(random, vec![op], live);
                made_up.body.truncate(made_up.body.len() / 2);
                return made_up;
            }
            3 => {
                made_up.what = "hostile: a bomb";
                made_up.must_fail = true;
                made_up.body = compress(&vec![0x81; 24 << 20]);
                return made_up;
            }
            4 => {
                made_up.what = "hostile: deep nesting";
                made_up.must_fail = true;
                made_up.body = vec![0x81; 100_000];
                return made_up;
            }
            5 => {
                made_up.what = "hostile: another workspace";
                made_up.asks = OTHER_WORKSPACE;
                made_up.must_fail = true;
            }
            6 => {
                made_up.what = "hostile: a canary for another workspace";
                made_up.token_for = OTHER_WORKSPACE;
                made_up.asks = OTHER_WORKSPACE;
                if let SentOp::Full { body, .. } = &mut op {
                    set(body, CANARY);
                }
            }
            7 => {
                made_up.what = "hostile: a decided id with other content";
                let head = self.histories.current.head();
                let version = 1 + random.below(head.max(1) as usize) as u64;
                let decided = self
                    .histories
                    .current
                    .version(version)
                    .map(|seen| seen.row.op);
                if let (Some(decided), SentOp::Full { id, .. }) = (decided, &mut op) {
                    *id = decided;
                }
            }
            8 => {
                made_up.what = "hostile: somebody's text under a new id";
                if let (Some(text), SentOp::Full { body, .. }) = (self.some_text(random), &mut op) {
                    *body = text;
                }
            }
            9 => {
                made_up.what = "hostile: a mutated text";
                if let (Some(text), SentOp::Full { body, .. }) = (self.some_text(random), &mut op) {
                    *body = mutated(text, random);
                }
            }
            10 => {
                made_up.what = "hostile: absurd links and numbers";
                if let SentOp::Full { body, .. } = &mut op {
                    absurd(body, random);
                }
            }
            11 => {
                made_up.what = "hostile: a reader's write";
                made_up.role = Role::Reader;
                made_up.unwelcome = true;
            }
            12 => {
                made_up.what = "hostile: text behind a gap";
                made_up.unwelcome = true;
                if let SentOp::Full { body, .. } = &mut op {
                    self.text_behind_a_gap(body, random);
                }
            }
            13 => {
                made_up.what = "hostile: text under another's writer";
                made_up.account = "eve";
                if let SentOp::Full { body, .. } = &mut op {
                    self.text_of_anothers_writer(body);
                    made_up.unwelcome = body.changes.iter().any(|c| !c.texts.is_empty());
                }
            }
            14 => {
                made_up.what = "hostile: a group with a bad part";
                made_up.unwelcome = true;
                if let SentOp::Full { body, .. } = &mut op {
                    self.group_with_a_bad_part(body);
                }
            }
            15 => {
                made_up.what = "hostile: a retry of what was accepted";
                made_up.account = ["ann", "ben"][random.below(2)];
                if let SentOp::Full { body, .. } = &mut op {
                    self.retry_of_accepted(body, random);
                    made_up.unwelcome = body.retry_of.is_some();
                }
            }
            16 => {
                made_up.what = "hostile: somebody's text before they sent it";
                made_up.account = "eve";
                if let (Some(text), SentOp::Full { body, .. }) = (self.unsent_text(random), &mut op)
                {
                    *body = text;
                }
            }
            _ => {
                made_up.what = "hostile: a generation that never was";
                if let SentOp::Full { body, .. } = &mut op {
                    let change = &mut body.changes[0];
                    change.kind = [ChangeKind::Update, ChangeKind::Delete][random.below(2)];
                    change.generation = Some(new_id(self.tasks.now(), random));
                }
            }
        }
        self.made_up.insert(op.id());
        if made_up.unwelcome {
            self.unwelcome.insert(op.id(), made_up.what);
        }
        if let SentOp::Full { id, body, .. } = &op
            && made_up.asks == WORKSPACE
            && self.bodies.get(*id).is_none()
        {
            self.bodies.put(*id, body.clone());
        }
        made_up.body = request(random, vec![op], live);
        made_up
    }

    /// An op as a device could have made it.
    fn stranger_op(&mut self, random: &mut Random) -> SentOp {
        self.hostile_ops += 1;
        let (_, collection, id) = draw_document(random);
        let document = DocumentId::new(id).unwrap_or_else(|_| unreachable!("a short id"));
        let mut body = OpBody {
            base: random.below(1 + self.histories.current.head() as usize) as u64,
            schema: 1,
            changes: vec![Change::new(collection, document, ChangeKind::Insert)],
            ..OpBody::default()
        };
        set(&mut body, &format!("h{}", self.hostile_ops));
        SentOp::Full {
            id: new_id(self.tasks.now(), random),
            when: match random.one_in(2) {
                true => When::Age(random.below(100_000) as u64),
                false => When::Wall([i64::MIN, 0, i64::MAX][random.below(3)]),
            },
            body,
        }
    }

    /// The oldest text in somebody's queue.
    fn unsent_text(&self, random: &mut Random) -> Option<OpBody> {
        let site = &self.sites[random.below(self.sites.len())];
        let typed = |body: &OpBody| body.changes.iter().any(|change| !change.texts.is_empty());
        let mut queue = site.view.shown_ops();
        queue
            .find(|queued| typed(&queued.body))
            .map(|queued| (*queued.body).clone())
    }

    /// What somebody typed.
    fn some_text(&self, random: &mut Random) -> Option<OpBody> {
        let head = self.histories.current.head();
        let from = random.below(head.max(1) as usize) as u64;
        let ops = (from + 1..=head).filter_map(|version| self.histories.current.version(version));
        let mut bodies = ops.filter_map(|seen| self.bodies.get(seen.row.op));
        let typed = |body: &&OpBody| body.changes.iter().any(|change| !change.texts.is_empty());
        bodies.find(typed).cloned()
    }
}

fn new_id(now: i64, random: &mut Random) -> OpId {
    let mut drawn = [0; 10];
    random.fill(&mut drawn);
    OpId::next(now.unsigned_abs(), drawn, None)
}

fn set(body: &mut OpBody, value: &str) {
    for change in &mut body.changes {
        change.registers.insert(1, Value::Text(value.to_owned()));
    }
}

fn mutated(mut body: OpBody, random: &mut Random) -> OpBody {
    for change in &mut body.changes {
        for (_, edit) in change.texts.iter_mut() {
            let bytes = &mut edit.update.0;
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.next() as u8;
            }
            if random.one_in(2) {
                edit.writer = random.next() >> 11;
                edit.after = None;
            }
        }
    }
    body
}

fn absurd(body: &mut OpBody, random: &mut Random) {
    let change = &mut body.changes[0];
    match random.below(5) {
        0 => change.clock = u64::MAX,
        1 => {
            change.collection = 1;
            _ = change.increments.insert(3, i64::MAX);
        }
        2 => change.prev = Some(OpId([0xff; 16])),
        3 => change.collection = 999,
        _ => body.covers = vec![OpId([1; 16]), OpId([2; 16])],
    }
}

/// As a body, or as a message on a live socket.
fn request(random: &mut Random, ops: Vec<SentOp>, live: bool) -> Vec<u8> {
    let request = SyncRequest {
        protocol: PROTOCOL,
        schema_version: 1,
        account: String::new(),
        device: Device {
            id: "made-up".to_owned(),
            label: "made up".to_owned(),
            writer: 7,
        },
        cursor: Cursor::START,
        losses_ack: 0,
        now: Reading {
            wall: [i64::MIN, 0, i64::MAX][random.below(3)],
            boot: BootId(1),
            mono: [i64::MIN, 0, i64::MAX][random.below(3)],
        },
        ops,
        page_bytes: random.below(2_000) as u32,
        tag: 0,
    };
    if !live {
        return encode(Form::Cbor, &request);
    }
    let frame: LiveFrame = LiveFrame::Request(request);
    encode(Form::Cbor, &frame)
}
