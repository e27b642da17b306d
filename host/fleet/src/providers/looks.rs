//! Clusters that are found by looking: every other second, which finds what a mounted Secret shows as well as what an
//! editor writes, on every file system.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Offers, Reach};

/// Between two looks.
const POLL: Duration = Duration::from_secs(2);
/// What was found is gone if so many looks in a row have not found it.
pub(super) const GONE_AFTER: u32 = 2;

/// What a look has found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) clusters: Vec<(String, Reach)>,
    /// What is wrong, and what is not, by the file or directory.
    pub(super) troubles: BTreeMap<String, Option<String>>,
}

impl Found {
    fn offer(self, offers: &Offers, gone: &str) {
        for (about, what) in &self.troubles {
            offers.trouble(about, what.as_deref());
        }
        for (name, reach) in &self.clusters {
            let refused = offers.engage(name, reach.clone()).err();
            offers.trouble(&format!("cluster {name}"), refused.map(|refused| refused.to_string()).as_deref());
        }
        offers.all(self.clusters.iter().map(|(name, _)| name.as_str()), gone);
    }
}

/// Looks, off the async threads, with what is `known` of earlier looks, and offers what is found. `gone`: why a cluster
/// is withdrawn that is not found any more.
pub(super) async fn offer_what_is_found<K: Send + 'static>(
    offers: Offers,
    mut known: K,
    look: impl Fn(&mut K) -> Found + Clone + Send + 'static,
    gone: &str,
) {
    loop {
        let look = look.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let found = look(&mut known);
            (known, found)
        });
        // Only the end of the program keeps it from ending well.
        let Ok((again, found)) = looked.await else { return };
        known = again;
        found.offer(&offers, gone);
        tokio::time::sleep(POLL).await;
    }
}
