//! Two hosts on a network of their own, as far as the kernel knows: what an operator types, and what somebody sees who
//! listens on the way.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
    process::Signal,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use serde_json::Value;

use crate::support::{Done, Serving, TINY, agent, collector, command, has, run, skip};

const COLLECTOR: &str = "10.203.0.1";
const AGENT: &str = "10.203.0.2";
/// What the agent's host is called.
const HOST: &str = "second-host-of-two";

/// Two namespaces with a cable between them, which are removed at the end.
struct Network {
    collector: String,
    agent: String,
}

impl Network {
    /// Makes them; why not, where this machine forbids it.
    fn new() -> Result<Self, String> {
        let name = |side| format!("fm{}{side}", process::id());
        // From here on they are removed whatever happens.
        let network = Self { collector: name('c'), agent: name('a') };
        let Self { collector, agent } = &network;
        ip(&["netns", "add", collector])?;
        ip(&["netns", "add", agent])?;
        let cable = ["link", "add", "north", "netns", collector, "type", "veth", "peer", "name"];
        ip(&[&cable[..], &["south", "netns", agent]].concat())?;
        for (space, card, address) in [(collector, "north", COLLECTOR), (agent, "south", AGENT)] {
            ip(&["-n", space, "address", "add", &format!("{address}/24"), "dev", card])?;
            ip(&["-n", space, "link", "set", card, "up"])?;
            ip(&["-n", space, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for space in [&self.collector, &self.agent] {
            let _ = ip(&["netns", "delete", space]);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let done = run(Command::new("ip").args(words));
    if done.code == 0 {
        Ok(())
    } else {
        Err(format!("ip {}: {}", words.join(" "), done.stderr.trim()))
    }
}

/// A collector in its namespace, with a state folder of its own.
fn collector_in(space: &str, state: &Path) -> Command {
    let mut program = command("ip".as_ref());
    program.args(["netns", "exec", space]).arg(collector());
    program.env("FLEETMARK_COLLECTOR_STATE_DIR", state).current_dir(state.parent().unwrap());
    program
}

/// An agent in its namespace, on a host of that name.
fn agent_in(space: &str, state: &Path) -> Command {
    let rename = format!("echo {HOST} >/proc/sys/kernel/hostname && exec \"$@\"");
    let mut program = command("ip".as_ref());
    program.args(["netns", "exec", space, "unshare", "--uts", "sh", "-c", &rename, "sh"]);
    program.arg(agent());
    program.env("FLEETMARK_AGENT_STATE_DIR", state).current_dir(state.parent().unwrap());
    program
}

/// Listens on the cable.
struct Tap {
    enough: Arc<AtomicBool>,
    listening: JoinHandle<Vec<u8>>,
}

impl Tap {
    fn on(space: &str) -> Self {
        let path = PathBuf::from("/run/netns").join(space);
        // A thread alone goes there, as the others have business here.
        let socket = thread::spawn(move || packet_socket(&path)).join().unwrap();
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let listening = thread::spawn(move || heard(&socket, &told));
        Self { enough, listening }
    }

    /// All that was said on the cable, one side of a connection after the other.
    fn end(self) -> String {
        self.enough.store(true, Ordering::Relaxed);
        String::from_utf8_lossy(&self.listening.join().unwrap()).into_owned()
    }
}

fn packet_socket(space: &Path) -> OwnedFd {
    let space = File::open(space).unwrap();
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let socket =
        socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(eth::ALL));
    let socket = socket.unwrap();
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(100))).unwrap();
    socket
}

/// What the segments of TCP that come by carry, side by side: a word may be spread over two of them.
fn heard(socket: &OwnedFd, enough: &AtomicBool) -> Vec<u8> {
    let mut sides: BTreeMap<[u8; 12], Vec<u8>> = BTreeMap::new();
    let mut packet = vec![0; 1 << 17];
    loop {
        let Ok((length, _)) = recv(socket, &mut packet[..], RecvFlags::empty()) else {
            if enough.load(Ordering::Relaxed) {
                return sides.into_values().flatten().collect();
            }
            continue;
        };
        let Some((side, said)) = segment(&packet[..length]) else { continue };
        sides.entry(side).or_default().extend(said);
    }
}

/// Whose segment of TCP this is, by addresses and ports, and what it carries.
fn segment(packet: &[u8]) -> Option<([u8; 12], &[u8])> {
    let ip = packet.get(14..)?;
    let is_tcp = packet.get(12..14)? == [8, 0] && *ip.get(9)? == 6;
    let words = |byte: &u8| usize::from(*byte) * 4;
    let length = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let tcp = ip.get(words(&(ip.first()? & 15))..length)?;
    let said = tcp.get(words(&(tcp.get(12)? >> 4))..)?;
    let side = [ip.get(12..20)?, tcp.get(..4)?].concat().try_into().ok()?;
    is_tcp.then_some((side, said))
}

fn succeeds(program: &mut Command) -> Done {
    let done = run(program);
    assert_eq!(done.code, 0, "{program:?}: {done:?}");
    done
}

/// Measures and delivers; returns words of the report that can be told on the wire.
fn delivered(space: &str, state: &Path, words: &[&str]) -> Vec<String> {
    let mut program = agent_in(space, state);
    program.args(["run", "--format", "json", "--label", "datacentre=under-the-lake"]).args(TINY);
    let done = succeeds(program.args(words));
    assert!(done.stderr.contains(": stored by the collector at http"), "{done:?}");
    let report = done.json();
    let facets = &report["profile"]["facets"];
    assert_eq!(report["host"]["name"], HOST);
    let found = [&report["host"]["id"], &report["build"]["target"], &facets["cpu_model"]];
    let mut words: Vec<_> =
        ["PRI * HTTP/2.0", HOST, "datacentre", "under-the-lake"].map(str::to_owned).into();
    // A short one may come by in what is random, and the model of a CPU may be unknown.
    let found = found.into_iter().filter_map(Value::as_str).filter(|word| word.len() > 6);
    words.extend(found.map(str::to_owned));
    assert!(words.len() >= 6, "{words:?}");
    words
}

/// Which of these words came by.
fn seen(words: &[String], cable: &str) -> Vec<String> {
    words.iter().filter(|word| cable.contains(word.as_str())).cloned().collect()
}

#[test]
fn a_second_host_joins_in_six_commands_and_nobody_on_the_way_reads_along() {
    if !has("ip") || !has("unshare") {
        return skip("ip or unshare", true);
    }
    // Who may install tools may still be forbidden namespaces, as in a container without the capability for it, or have a
    // kernel without them; so CI may skip this too.
    if !rustix::process::geteuid().is_root() {
        return skip("the right to make network namespaces", false);
    }
    let network = match Network::new() {
        Ok(network) => network,
        Err(why) => {
            let may_be = ["not permitted", "denied", "not supported"];
            assert!(may_be.iter().any(|reason| why.contains(reason)), "{why}");
            return skip(&format!("the right to make network namespaces ({why})"), false);
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let here = |words: &[&str]| succeeds(collector_in(&network.collector, &at("home")).args(words));
    let tap = Tap::on(&network.agent);

    // The six commands of the README: nothing but the name is said.
    here(&["init", "--name", COLLECTOR]);
    let mut serve = collector_in(&network.collector, &at("home"));
    let serving = Serving::spawn(serve.arg("serve")).listening();
    assert_eq!(serving.url, "http://0.0.0.0:7600");
    here(&["token", "create", "--output", "token"]);
    let mut enroll = agent_in(&network.agent, &at("host"));
    let joined = succeeds(enroll.args(["enroll", "--token-file", "token"]));
    assert!(joined.stderr.contains("this host has joined https://10.203.0.1:7600"), "{joined:?}");
    let words = delivered(&network.agent, &at("host"), &[]);
    let view = here(&["report", "--include-suspect", "--format", "json"]).json();
    let counted = &view["profiles"][0];
    assert_eq!((&counted["hosts"], &counted["runs"]), (&1.into(), &1.into()), "{view}");

    let cable = tap.end();
    assert!(cable.len() > 5_000, "{} bytes came by", cable.len());
    assert_eq!(seen(&words, &cable), [""; 0]);
    let token = fs::read_to_string(at("token")).unwrap();
    assert!(!cable.contains(token.trim()));
    let audit = here(&["audit", "--format", "json"]).json();
    let enrolled = audit.as_array().unwrap().iter().find(|line| line["event"] == "enrolled");
    assert_eq!(enrolled.unwrap()["address"], AGENT, "{audit}");
    let (status, log) = serving.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");

    // The same ears hear all of it where both sides said that it may be heard.
    let tap = Tap::on(&network.agent);
    let mut serve = collector_in(&network.collector, &at("open-home"));
    serve.args(["serve", "--insecure", "--listen", "10.203.0.1:7600"]);
    let _serving = Serving::spawn(&mut serve).listening();
    let url = ["--collector", "http://10.203.0.1:7600"];
    let mut alone = agent_in(&network.agent, &at("open-host"));
    let refused = run(alone.arg("run").args(TINY).args(url));
    assert_eq!(refused.code, 2, "one side alone does not do: {refused:?}");
    let insecure = [&url[..], &["--insecure"]].concat();
    let words = delivered(&network.agent, &at("open-host"), &insecure);
    let cable = tap.end();
    assert_eq!(seen(&words, &cable), words);
}
