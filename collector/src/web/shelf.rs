//! Pages that were made, for others who ask for the same.

use std::collections::VecDeque;

use bytes::Bytes;

/// Pages that are kept at most.
const PAGES: usize = 16;
/// Bytes of all of them.
const BYTES: usize = 16 * 1024 * 1024;

/// The pages that were made last.
#[derive(Debug, Default)]
pub(super) struct Shelf(VecDeque<Kept>);

#[derive(Debug)]
struct Kept {
    address: String,
    tag: String,
    page: Bytes,
}

impl Shelf {
    /// The page of this address, if it is of this tag.
    pub(super) fn get(&self, address: &str, tag: &str) -> Option<Bytes> {
        let kept = self.0.iter().find(|kept| kept.address == address && kept.tag == tag)?;
        Some(kept.page.clone())
    }

    /// Keeps a page in place of what was at its address, and of what was made long ago.
    pub(super) fn put(&mut self, address: &str, tag: &str, page: Bytes) {
        self.0.retain(|kept| kept.address != address);
        self.0.push_back(Kept { address: address.to_owned(), tag: tag.to_owned(), page });
        while self.0.len() > PAGES
            || self.0.iter().map(|kept| kept.page.len()).sum::<usize>() > BYTES
        {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_last_is_kept_and_no_more_than_fits() {
        let mut shelf = Shelf::default();
        shelf.put("/a", "1", Bytes::from_static(b"old"));
        assert_eq!(shelf.get("/a", "1").unwrap(), "old");
        assert_eq!(shelf.get("/a", "2"), None, "what has changed is made again");
        shelf.put("/a", "2", Bytes::from_static(b"new"));
        assert_eq!(shelf.get("/a", "1"), None);
        for number in 0..PAGES {
            shelf.put(&format!("/{number}"), "2", Bytes::new());
        }
        assert_eq!(shelf.get("/a", "2"), None, "what was made first goes first");
        assert_eq!(shelf.0.len(), PAGES);
        shelf.put("/big", "2", Bytes::from(vec![0; BYTES]));
        shelf.put("/small", "2", Bytes::from_static(b"x"));
        assert!(shelf.get("/big", "2").is_none() && shelf.get("/small", "2").is_some());
    }
}
