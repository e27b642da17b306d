//! What there is to ask, for people: the page of the book is made of this.

/// One request that the API takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// With its parameters in braces; `{key}` is `{cluster}/{group}/{kind}/{namespace}/{name}`.
    pub path: &'static str,
    /// What is sent with it: query parameters or a body; empty for nothing.
    pub takes: &'static str,
    /// What is answered.
    pub answers: &'static str,
}

const fn endpoint(method: &'static str, path: &'static str, takes: &'static str, answers: &'static str) -> Endpoint {
    Endpoint { method, path, takes, answers }
}

const FILTER: &str = "query: cluster, group, kind, namespace, name, labels, state, plugin";

const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "/healthz", "", "`ok` while the process answers"),
    endpoint("GET", "/readyz", "", "200 `ok`, or 503 `not ready`; then one reason per line"),
    endpoint("GET", "/metrics", "", "OpenMetrics"),
    endpoint("GET", "/v1/overview", "", "the host in one object: running, mode, queue_length, status_summary, ready"),
    endpoint("GET", "/v1/reconciles", FILTER, "one row per reconciled object"),
    endpoint("GET", "/v1/reconciles/{key}", "", "one row"),
    endpoint("GET", "/v1/reconciles/{key}/runs", "", "its last runs, each with the chain of causes behind it"),
    endpoint("POST", "/v1/reconciles/{key}/trigger", "", "reconciles it now"),
    endpoint("POST", "/v1/reconciles/{key}/pause", "", "stops reconciling it; answered when that is on disk"),
    endpoint("POST", "/v1/reconciles/{key}/resume", "", "reconciles it again"),
    endpoint(
        "GET",
        "/v1/objects",
        "query: cluster, group, kind, namespace, name, labels",
        "objects, without the values of Secrets",
    ),
    endpoint("GET", "/v1/objects/{key}", "", "one object with its row, its events and its file"),
    endpoint(
        "GET",
        "/v1/objects/{key}/logs",
        "",
        "of a Process: what it wrote last, as server-sent events, or a list for `Accept: application/json`",
    ),
    endpoint(
        "POST",
        "/v1/mcp/{namespace}/{name}",
        "body: an MCP message",
        "what the MCP server answers that the Process of this name is, over streamable HTTP; GET and DELETE likewise, and the same with /mcp at its end",
    ),
    endpoint("DELETE", "/v1/objects/{key}", "", "deletes what no file defines"),
    endpoint(
        "GET",
        "/v1/registry/{cluster}/{group}/{kind}",
        "query: namespace, watch",
        "what the objects of the kind amount to: version, state, and items in order, each with its generation; with \
         `watch=true` or `Accept: text/event-stream` the same as server-sent events, now and whenever it changes",
    ),
    endpoint("GET", "/v1/kinds", "", "the kinds that are served, with their columns"),
    endpoint("POST", "/v1/kinds/{group}/{kind}/enable", "", "reconciles a kind again"),
    endpoint("POST", "/v1/kinds/{group}/{kind}/disable", "", "stops reconciling a kind; answered when that is on disk"),
    endpoint("GET", "/v1/clusters", "", "the clusters: how each is doing, and what is in the way of who finds them"),
    endpoint(
        "POST",
        "/v1/clusters/{name}/forget",
        "",
        "gives a cluster up that will never come back; what was there counts as gone",
    ),
    endpoint("GET", "/v1/plugins", "", "the plugins directory: what runs, what is refused and why"),
    endpoint(
        "GET",
        "/v1/plugins/{name}/logs",
        "",
        "lines that it logged: server-sent events, or a list for `Accept: application/json`",
    ),
    endpoint("POST", "/v1/plugins/{name}/rollback", "", "goes back to the component that ran before"),
    endpoint("GET", "/v1/files", "", "documents that are no objects, and what is wrong with files"),
    endpoint("GET", "/v1/held", "", "deletions that wait for a person, by plugin"),
    endpoint("POST", "/v1/held/{id}/confirm", "", "lets them happen"),
    endpoint("POST", "/v1/confirm-resources", "", "says that files that are gone are gone for good"),
    endpoint("POST", "/v1/clusters/{name}/confirm-resources", "", "the same for a directory that is a cluster"),
    endpoint(
        "POST",
        "/v1/plan",
        "body: cluster, group, kind (required), namespace, name, labels",
        "what reconciling these objects now would change; nothing is written",
    ),
    endpoint(
        "POST",
        "/v1/release",
        "body: as for a plan, and delete_children",
        "finalizers removed from objects that nobody reconciles, and what became of their children",
    ),
    endpoint(
        "GET",
        "/v1/record",
        "query: as for objects, plugin, with_secrets",
        "server-sent events: each call of a plugin from now on with its reads and its outcome",
    ),
    endpoint(
        "GET",
        "/v1/events",
        FILTER,
        "server-sent events: what happens from now on; or the recorded events as a list for `Accept: application/json`",
    ),
];

/// All of them, in the order in which they are explained.
pub fn endpoints() -> &'static [Endpoint] {
    ENDPOINTS
}
