//! How clients name the server in `:authority`, frame by frame.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Member, PATIENCE};

const HEAD: usize = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

/// `etcdctl` 3.4 names a member with the scheme when it asks for its status, and got nothing but
/// `stream terminated by RST_STREAM`.
#[tokio::test]
async fn whatever_name_a_client_gives_the_server_it_is_answered() {
    let member = Member::start(false).await;
    let names = ["http://127.0.0.1:2379", "%2Ftmp%2Fetcd.sock", "unix:///tmp/etcd.sock", "a:2379"];
    for name in names {
        assert_eq!(
            timeout(PATIENCE, first_answers(member.address(), name)).await.unwrap(),
            [HEADERS, HEADERS]
        );
    }
    member.stop().await;
}

/// The kinds of frames with which two requests of one connection begin to be answered.
async fn first_answers(address: SocketAddr, name: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = u8::try_from(name.len()).unwrap();
    // GET, http, the name, to be remembered, and /version; then the same name by its number.
    let spelt_out = [&[0x82, 0x86, 0x41, length], name.as_bytes(), b"\x04\x08/version"].concat();
    let by_number = b"\x82\x86\xbe\x04\x08/version".to_vec();
    let sent = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0, 0, 0, 4, 0, 0, 0, 0, 0],
        request(1, &spelt_out),
        request(3, &by_number),
    ];
    stream.write_all(&sent.concat()).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await.unwrap();
        let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink()).await.unwrap();
        if [HEADERS, RST_STREAM].contains(&head[3]) {
            kinds.push(head[3]);
        }
    }
    kinds
}

/// All of a request's headers, and nothing after them.
fn request(id: u8, block: &[u8]) -> Vec<u8> {
    let length = u8::try_from(block.len()).unwrap();
    [&[0, 0, length, HEADERS, 0x5, 0, 0, 0, id], block].concat()
}
