//! The first words on a connection: who calls whom, and whether that is right.
//!
//! ```text
//!   dialler ── Hello { cluster, sender, incarnation, receiver, lane, about } ──▶ listener
//!   dialler ◀── Welcome { receiver, incarnation } ─────────────────────── listener
//!        or ◀── Refused { code, text }, and the connection closes
//!
//!   all of them:   8  magic "synod/px"
//!                  2  protocol version of the sender
//!                  1  kind: 1 hello, 2 welcome, 3 refused
//!                  2  length of the body
//!                  n  body
//!                  4  crc32c of everything before
//! ```
//!
//! Numbers are little-endian. The envelope never changes, so that members of any two versions can
//! at least refuse each other with a reason. The bytes are pinned by tests below.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::PeerIdentity;

/// The version this build speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest version this build understands.
pub const PROTOCOL_VERSION_MIN: u16 = 1;

const MAGIC: [u8; 8] = *b"synod/px";
const HEADER_BYTES: usize = 8 + 2 + 1 + 2;
const CHECKSUM_BYTES: usize = 4;
/// No body is longer; whoever announces more speaks another protocol.
const BODY_BYTES_MAX: usize = 8192;
/// What a member says about itself is at most so long.
pub const ABOUT_BYTES_MAX: usize = 4096;
/// A reason is cut here, so that a refusal always fits.
const TEXT_BYTES_MAX: usize = 512;

/// The first byte of what TLS sends before anything is agreed on.
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;
/// The second one, of all versions.
const TLS_MAJOR: u8 = 3;

/// Which of the two connections to a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Lane {
    /// Small messages that must not wait.
    Control,
    /// Everything that may be large.
    Bulk,
}

impl Lane {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Control => 0,
            Self::Bulk => 1,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Control),
            1 => Some(Self::Bulk),
            _ => None,
        }
    }
}

/// The dialler introduces itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The cluster it belongs to.
    pub cluster: u64,
    /// Who it is.
    pub sender: PeerIdentity,
    /// Whom it means to talk to.
    pub receiver: u64,
    /// What the connection is for.
    pub lane: Lane,
    /// What the sender says about itself, opaque here; at most [`ABOUT_BYTES_MAX`].
    pub about: Bytes,
}

/// Why a connection was refused, for programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalCode {
    /// The versions have none in common.
    IncompatibleVersion,
    /// The sender belongs to another cluster.
    ForeignCluster,
    /// The receiver is not the member that the sender means.
    WrongMember,
    /// The receiver does not know the sender.
    UnknownSender,
    /// The hello makes no sense.
    Malformed,
    /// A code of a later version.
    Other(u16),
}

impl RefusalCode {
    const fn number(self) -> u16 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::ForeignCluster => 2,
            Self::WrongMember => 3,
            Self::UnknownSender => 4,
            Self::Malformed => 5,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::IncompatibleVersion,
            2 => Self::ForeignCluster,
            3 => Self::WrongMember,
            4 => Self::UnknownSender,
            5 => Self::Malformed,
            other => Self::Other(other),
        }
    }
}

/// The listener's no.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The reason, for programs.
    pub code: RefusalCode,
    /// The reason, for people.
    pub text: String,
}

/// Anything said before frames flow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Greeting {
    /// From the dialler.
    Hello(Hello),
    /// From the listener: go ahead.
    Welcome(PeerIdentity),
    /// From the listener: no.
    Refused(Refused),
    /// Well-formed, but of a version that this build does not understand.
    Incompatible {
        /// The version.
        version: u16,
    },
}

/// What came was no greeting.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// The connection broke, or closed before the greeting was complete.
    #[error("connection lost during the greeting: {0}")]
    Io(#[from] std::io::Error),
    /// Some other protocol, or noise.
    #[error("not a member: it does not speak the peer protocol")]
    NotAPeer,
    /// A TLS handshake, or the end of one.
    #[error("the other side speaks TLS, and this side does not")]
    SpeaksTls,
    /// Right magic, wrong rest.
    #[error("malformed greeting: {0}")]
    Malformed(&'static str),
}

impl Greeting {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        let (version, kind) = match self {
            Self::Hello(hello) => {
                body.extend(hello.cluster.to_le_bytes());
                body.extend(hello.sender.id.to_le_bytes());
                body.extend(hello.sender.incarnation.to_le_bytes());
                body.extend(hello.receiver.to_le_bytes());
                body.push(hello.lane.number());
                body.extend(&hello.about[..hello.about.len().min(ABOUT_BYTES_MAX)]);
                (PROTOCOL_VERSION, 1)
            }
            Self::Welcome(me) => {
                body.extend(me.id.to_le_bytes());
                body.extend(me.incarnation.to_le_bytes());
                (PROTOCOL_VERSION, 2)
            }
            Self::Refused(refused) => {
                body.extend(refused.code.number().to_le_bytes());
                body.extend(&refused.text.as_bytes()[..cut(&refused.text)]);
                (PROTOCOL_VERSION, 3)
            }
            Self::Incompatible { version } => (*version, 0),
        };
        let length = u16::try_from(body.len()).expect("bodies end before BODY_BYTES_MAX");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(version.to_le_bytes());
        bytes.push(kind);
        bytes.extend(length.to_le_bytes());
        bytes.extend(body);
        bytes.extend(crc_fast::crc32_iscsi(&bytes).to_le_bytes());
        bytes
    }

    /// Reads one greeting and not a byte more.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is no greeting.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, GreetingError> {
        let mut bytes = vec![0; HEADER_BYTES];
        // The magic first and alone: a stranger that sends less than a header hears of it at once.
        stream.read_exact(&mut bytes[..2]).await?;
        if matches!(bytes[..2], [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR]) {
            return Err(GreetingError::SpeaksTls);
        }
        stream.read_exact(&mut bytes[2..MAGIC.len()]).await?;
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(GreetingError::NotAPeer);
        }
        stream.read_exact(&mut bytes[MAGIC.len()..]).await?;
        let length = usize::from(u16::from_le_bytes([bytes[11], bytes[12]]));
        if length > BODY_BYTES_MAX {
            return Err(GreetingError::Malformed("its body is longer than 8192 bytes"));
        }
        bytes.resize(HEADER_BYTES + length + CHECKSUM_BYTES, 0);
        stream.read_exact(&mut bytes[HEADER_BYTES..]).await?;
        Self::decode(&bytes)
    }

    /// Takes a whole greeting apart.
    fn decode(bytes: &[u8]) -> Result<Self, GreetingError> {
        let malformed = GreetingError::Malformed;
        let (covered, checksum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| malformed("too short"))?;
        if crc_fast::crc32_iscsi(covered) != u32::from_le_bytes(*checksum) {
            return Err(malformed("its checksum does not match"));
        }
        let mut fields = Fields(covered.get(MAGIC.len()..).ok_or_else(|| malformed("too short"))?);
        let version = fields.u16()?;
        let kind = fields.u8()?;
        let _length = fields.u16()?;
        if kind != 3 && !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION).contains(&version) {
            return Ok(Self::Incompatible { version });
        }
        match kind {
            1 => Ok(Self::Hello(Hello {
                cluster: fields.u64()?,
                sender: PeerIdentity { id: fields.u64()?, incarnation: fields.u64()? },
                receiver: fields.u64()?,
                lane: Lane::from_number(fields.u8()?).ok_or_else(|| malformed("no such lane"))?,
                about: Bytes::copy_from_slice(fields.0),
            })),
            2 => Ok(Self::Welcome(PeerIdentity { id: fields.u64()?, incarnation: fields.u64()? })),
            3 => Ok(Self::Refused(Refused {
                code: RefusalCode::from_number(fields.u16()?),
                text: String::from_utf8_lossy(fields.0).into_owned(),
            })),
            _ => Err(malformed("no such kind")),
        }
    }
}

/// Where to cut a text so that it fits and stays UTF-8.
fn cut(text: &str) -> usize {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// Takes numbers off the front of a body.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], GreetingError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(GreetingError::Malformed("its body is too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, GreetingError> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, GreetingError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GreetingError> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    async fn read(bytes: &[u8]) -> Result<Greeting, GreetingError> {
        Greeting::read(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn bytes_are_pinned() {
        let hello = Greeting::Hello(Hello {
            cluster: 0x1122_3344_5566_7788,
            sender: PeerIdentity { id: 2, incarnation: 0xabcd },
            receiver: 3,
            lane: Lane::Bulk,
            about: Bytes::from_static(b"hi"),
        });
        let welcome = Greeting::Welcome(PeerIdentity { id: 3, incarnation: 0xef });
        let refused =
            Greeting::Refused(Refused { code: RefusalCode::ForeignCluster, text: "no".into() });
        let table = [
            (hello, include_str!("../golden/hello.hex")),
            (welcome, include_str!("../golden/welcome.hex")),
            (refused, include_str!("../golden/refused.hex")),
        ];
        for (greeting, golden) in table {
            assert_eq!(hex(&greeting.encode()), golden.trim(), "{greeting:?}");
            assert_eq!(read(&greeting.encode()).await.unwrap(), greeting);
        }
    }

    #[tokio::test]
    async fn another_version_is_told_apart_from_noise() {
        let later = Greeting::Incompatible { version: 9 };
        assert_eq!(read(&later.encode()).await.unwrap(), later);
        let http = read(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(matches!(http, Err(GreetingError::NotAPeer)), "{http:?}");
    }

    #[tokio::test]
    async fn a_long_reason_is_cut_between_characters() {
        let text = "é".repeat(600);
        let refused = Greeting::Refused(Refused { code: RefusalCode::Malformed, text });
        let Greeting::Refused(read) = read(&refused.encode()).await.unwrap() else {
            panic!("a refusal stays one");
        };
        assert_eq!(read.text, "é".repeat(256));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_flipped_bit_passes(at in 0_usize..50, bit in 0_u8..8) {
            let hello = Greeting::Hello(Hello {
                cluster: 1,
                sender: PeerIdentity { id: 2, incarnation: 3 },
                receiver: 4,
                lane: Lane::Control,
                about: Bytes::new(),
            });
            let mut bytes = hello.encode();
            prop_assert_eq!(bytes.len(), 50);
            bytes[at] ^= 1 << bit;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert!(runtime.block_on(read(&bytes)).is_err());
        }
    }
}
