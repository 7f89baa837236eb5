//! Floods of HTTP/2 frames that cost the sender little.

use anyhow::{bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::victim::{Port, Victim};
use super::{Connection, PATIENCE};

/// Frames, and what becomes of who sends them.
pub(super) struct Flood {
    pub(super) name: &'static str,
    /// The frames of a round.
    next: fn(u32) -> Vec<u8>,
    rounds: u32,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The connection ends.
    Ends,
    /// Everything is taken, and costs nothing that stays; or the connection ends.
    IsBorne,
}

/// All floods.
pub(super) const ALL: &[Flood] = &[
    Flood { name: "rapid reset", next: rapid_reset, rounds: 200_000, fate: Fate::Ends },
    Flood {
        name: "endless CONTINUATION",
        next: endless_continuation,
        rounds: 50_000,
        fate: Fate::Ends,
    },
    Flood {
        name: "empty CONTINUATION",
        next: empty_continuation,
        rounds: 200_000,
        fate: Fate::Ends,
    },
    Flood { name: "empty DATA", next: empty_data, rounds: 400_000, fate: Fate::Ends },
    Flood { name: "endless PING", next: ping, rounds: 400_000, fate: Fate::IsBorne },
    Flood { name: "endless SETTINGS", next: settings, rounds: 400_000, fate: Fate::IsBorne },
    Flood { name: "endless PRIORITY", next: priority, rounds: 400_000, fate: Fate::IsBorne },
    Flood { name: "a window beyond its size", next: window, rounds: 10, fate: Fate::Ends },
    Flood { name: "a frame beyond its size", next: large_frame, rounds: 1, fate: Fate::Ends },
    Flood {
        name: "streams beyond their number",
        next: half_open,
        rounds: 100_000,
        fate: Fate::IsBorne,
    },
    Flood { name: "frames on streams that never were", next: stray, rounds: 10, fate: Fate::Ends },
    Flood { name: "headers that are no HPACK", next: no_hpack, rounds: 1, fate: Fate::Ends },
];

impl Flood {
    pub(super) async fn send(&self, victim: &Victim, port: Port) -> anyhow::Result<String> {
        let mut stream = hello(victim, port).await?;
        let mut bytes = Vec::new();
        for round in 0..self.rounds {
            bytes.extend((self.next)(round));
            // In large pieces: a flood is faster than who reads it.
            if (bytes.len() >= PIECE_BYTES || round + 1 == self.rounds)
                && write(&mut stream, &bytes).await?
            {
                return Ok(format!("the connection ended, at the latest in round {round}"));
            }
            if bytes.len() >= PIECE_BYTES {
                bytes.clear();
            }
        }
        if self.fate == Fate::IsBorne {
            return Ok(format!("all of {} rounds were taken", self.rounds));
        }
        super::read_to_end(&mut stream).await?;
        Ok(format!("the connection ended after {} rounds", self.rounds))
    }
}

/// Opens a connection and says hello.
pub(super) async fn hello(victim: &Victim, port: Port) -> anyhow::Result<Connection> {
    let mut stream = victim.connect(port).await?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await?;
    Ok(stream)
}

/// Writes while it reads, as who floods does not wait; whether the other side ended it.
async fn write(stream: &mut Connection, bytes: &[u8]) -> anyhow::Result<bool> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async { writer.write_all(bytes).await.is_err() };
    let reading = async {
        let mut answer = vec![0; 16 << 10];
        while matches!(reader.read(&mut answer).await, Ok(1..)) {}
    };
    let both = async {
        tokio::select! {
            broken = writing => broken,
            () = reading => true,
        }
    };
    let Ok(ended) = timeout(PATIENCE, both).await else { bail!("it neither reads nor ends") };
    Ok(ended)
}

/// Ten thousand requests on one connection that each announce a megabyte and send none of it.
pub(super) async fn announced(victim: &Victim, port: Port) -> anyhow::Result<String> {
    const STREAMS: u32 = 10_000;
    let before = victim.figure(CUT_OFF)?;
    let mut stream = hello(victim, port).await?;
    let request = grpc_put();
    for round in 0..STREAMS {
        let open = frame(HEADERS, END_HEADERS, odd(round), &request);
        let announce = frame(DATA, 0, odd(round), &[0, 0, 16, 0, 0]);
        ensure!(!write(&mut stream, &[open, announce].concat()).await?, "the connection ended");
    }
    // The refusals are on their way; a figure tells when they are out.
    let waiting = async {
        loop {
            let refused = victim.figure(CUT_OFF)? - before;
            if refused >= u64::from(STREAMS / 2) {
                return anyhow::Ok(refused);
            }
            tokio::time::sleep(crate::process::POLL).await;
        }
    };
    let refused = timeout(PATIENCE, waiting).await??;
    let arriving = victim.figure("synod_requests_arriving_bytes")?;
    ensure!(arriving <= 64 << 20, "{arriving} bytes are held for one connection");
    Ok(format!("{refused} of {STREAMS} were refused, {arriving} bytes held"))
}

/// `POST http /etcdserverpb.KV/Put` with gRPC's content type, without Huffman's code.
fn grpc_put() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (index, value) in [(4_u8, "/etcdserverpb.KV/Put"), (1, "x")] {
        block.extend([index, u8::try_from(value.len()).unwrap_or(0)]);
        block.extend(value.as_bytes());
    }
    // The name at place 31 of the static table is content-type.
    block.extend([0x0f, 31 - 15, 16]);
    block.extend(b"application/grpc");
    block
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

const fn odd(round: u32) -> u32 {
    2 * round + 1
}

fn rapid_reset(round: u32) -> Vec<u8> {
    let open = frame(HEADERS, END_STREAM | END_HEADERS, odd(round), REQUEST);
    [open, frame(RST_STREAM, 0, odd(round), &[0, 0, 0, 8])].concat()
}

fn endless_continuation(round: u32) -> Vec<u8> {
    match round {
        0 => frame(HEADERS, END_STREAM, 1, REQUEST),
        // A header without indexing, again and again, and never an end.
        _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 127, 128, 7][..], &[b'x'; 1023]].concat()),
    }
}

fn empty_continuation(round: u32) -> Vec<u8> {
    match round {
        0 => frame(HEADERS, END_STREAM, 1, REQUEST),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }
}

fn empty_data(round: u32) -> Vec<u8> {
    match round {
        0 => frame(HEADERS, END_HEADERS, 1, &grpc_put()),
        _ => frame(DATA, 0, 1, &[]),
    }
}

fn ping(_: u32) -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8])
}

fn settings(_: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])
}

fn priority(round: u32) -> Vec<u8> {
    frame(PRIORITY, 0, odd(round), &[0, 0, 0, 0, 7])
}

fn window(_: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())
}

fn large_frame(_: u32) -> Vec<u8> {
    [&[255, 255, 255, DATA, 0, 0, 0, 0, 1][..], &[0; 1024]].concat()
}

fn half_open(round: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, odd(round), &grpc_put())
}

fn stray(round: u32) -> Vec<u8> {
    frame(CONTINUATION, 0, odd(round), &[0; 16])
}

fn no_hpack(_: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 64])
}

const CUT_OFF: &str = "synod_requests_cut_off_total{reason=\"no_room\"}";
const PIECE_BYTES: usize = 64 << 10;
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET / http`, as the static table of HPACK has it.
const REQUEST: &[u8] = &[0x82, 0x84, 0x86];

/// The first frame of a request that goes on in frames which never come.
pub(super) fn half_a_head() -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, REQUEST)
}
