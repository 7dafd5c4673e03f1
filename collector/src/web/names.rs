//! What the collector is called in a browser. A page of a stranger's can have a browser ask any address by a name of the
//! stranger's, and would read the answer; by these names it cannot.

use std::net::{IpAddr, Ipv6Addr};

/// The names that count beside addresses and `localhost`.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    /// These names.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a request for this host, with or without a port, is for the collector.
    pub(crate) fn are_ours(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return false };
        if let Some(rest) = host.strip_prefix('[') {
            let Some((address, port)) = rest.split_once(']') else { return false };
            return is_port(port.strip_prefix(':').unwrap_or(port))
                && address.parse::<Ipv6Addr>().is_ok();
        }
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        is_port(port)
            && (name.parse::<IpAddr>().is_ok()
                || name == "localhost"
                || name.ends_with(".localhost")
                || self.0.contains(&name))
    }
}

fn is_port(text: &str) -> bool {
    text.chars().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_name_for_this_host_does_not_count() {
        let names = Names::new(["Collector.example".to_owned()]);
        for ours in [
            "127.0.0.1:7601",
            "127.0.0.1",
            "[::1]:7601",
            "[::1]",
            "localhost",
            "LOCALHOST:7601",
            "localhost.",
            "me.localhost:1",
            "collector.example:7601",
        ] {
            assert!(names.are_ours(Some(ours)), "{ours}");
        }
        for other in [
            "evil.example:7601",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "collector.example.evil",
            "[::1",
            "[evil]",
            "127.0.0.1:x",
            "",
        ] {
            assert!(!names.are_ours(Some(other)), "{other}");
        }
        assert!(!names.are_ours(None));
    }
}
