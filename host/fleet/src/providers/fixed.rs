//! Clusters that the operator lists.

use std::sync::Arc;

use crate::{BoxFuture, Offers, Provider, Reach};

/// A list of clusters, each with how it is reached.
pub struct Fixed {
    /// What the provider is called.
    pub name: String,
    /// What stands before the names of its clusters.
    pub prefix: Option<String>,
    /// The clusters.
    pub clusters: Vec<(String, Reach)>,
}

impl Provider for Fixed {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            for (name, reach) in &self.clusters {
                offers.show(name, reach.clone(), None);
            }
            offers.all(self.clusters.iter().map(|(name, _)| name.as_str()), "it is not listed any more");
        })
    }
}
