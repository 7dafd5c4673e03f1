//! As many connections as a collector keeps, each of which has it hold all that it can.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use fleetmark_collector::{
    load::{Answer, Batch, Link},
    server::raise_open_files,
    simulate::Fleet,
};
use fleetmark_proto::limits;
use rustix::process::Signal;

use crate::support::{Serving, skip};

/// Memory that a collector may take, in KiB.
const MEMORY_KIB: usize = 256 * 1024;
/// What TLS takes more of such a connection, in KiB.
const TLS_KIB: usize = 6;

/// A header as HPACK has it, unshortened; one that is kept fills the table of the connection.
fn header(block: &mut Vec<u8>, is_kept: bool, name: &str, value: &str) {
    block.push(if is_kept { 0x40 } else { 0 });
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(length) if length < 127 => block.push(length),
            _ => {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
        }
        block.extend(text.as_bytes());
    }
}

/// The beginning of HTTP/2, and a call whose headers fill tables and buffers.
fn greedy() -> Vec<u8> {
    // POST, http.
    let mut block = vec![0x83, 0x86];
    header(&mut block, false, ":path", "/grpc.health.v1.Health/Check");
    header(&mut block, false, ":authority", "localhost");
    header(&mut block, false, "content-type", "application/grpc");
    header(&mut block, false, "te", "trailers");
    for number in 0..38 {
        header(&mut block, true, &format!("x{number}"), &"x".repeat(60));
    }
    header(&mut block, false, "long", &"x".repeat(9_000));
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend(&u32::try_from(block.len()).unwrap().to_be_bytes()[1..]);
    // Headers, the last of them and of the call, of call 1.
    bytes.extend([1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    bytes
}

/// Reads until headers come back.
fn answered(connection: &mut TcpStream) {
    loop {
        let mut begin = [0; 9];
        connection.read_exact(&mut begin).unwrap();
        let [a, b, c, kind, ..] = begin;
        let length = u32::from_be_bytes([0, a, b, c]);
        connection.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).unwrap();
        if kind == 1 {
            return;
        }
    }
}

#[test]
fn a_crowd_of_greedy_connections_fits_into_memory() {
    let most = limits::CONNECTIONS;
    if raise_open_files().is_some_and(|files| files < u64::try_from(most + 100).unwrap()) {
        return skip("the right to open enough files", false);
    }
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let address = serving.url.trim_start_matches("http://");
    let bytes = greedy();
    let mut crowd: Vec<TcpStream> = (0..most)
        .map(|_| {
            let mut connection = TcpStream::connect(address).unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            connection.write_all(&bytes).unwrap();
            connection
        })
        .collect();
    crowd.iter_mut().for_each(answered);
    let status =
        fs::read_to_string(format!("/proc/{}/status", serving.pid().as_raw_nonzero())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: usize = peak.split_whitespace().next().unwrap().parse().unwrap();
    let requests_kib = limits::BODIES_BYTES / 1024;
    let worst_kib = peak_kib + most * TLS_KIB + requests_kib;
    assert!(worst_kib <= MEMORY_KIB, "{peak_kib} KiB, and with TLS and requests {worst_kib}");

    drop(crowd);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime.block_on(async {
        let link = Link::open(&serving.url.parse().unwrap()).await.unwrap();
        link.submit(&Batch::of(&mut Fleet::new("sim", 1, 1).unwrap(), 1)).await
    });
    assert_eq!(answer, Answer::Answered { stored: 1, duplicate: 0, other: 0 });
    let (status, log) = serving.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");
}
