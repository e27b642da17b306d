//! What only entries have: certificates of their own, and headers.

use setpoint_sdk::prelude::*;

use crate::auth::secret_is_there;
use crate::problem::{Checked, Problem, or_problem};
use crate::source::{CaBundleRef, HeaderForward, SourceRef};
use crate::status::{CaBundle, Header};

/// The key of a bundle that names none.
const DEFAULT_KEY: &str = "ca.crt";

/// How certificates are read.
pub fn reads() -> Read {
    Read::named::<ConfigMap>().fields([".data"])
}

/// The certificates that a reference names. Without them the backend would be trusted by another measure than its
/// owner's, so that what cannot be found closes it.
pub fn ca_bundle<R: Reconciler>(
    cx: &Context<R>,
    source: &SourceRef,
    reference: Option<&CaBundleRef>,
) -> Checked<Option<CaBundle>> {
    let Some(wanted) = reference.and_then(|reference| reference.config_map_ref.as_ref()) else {
        return Ok(Ok(None));
    };
    let name = &wanted.name;
    let key = if wanted.key.is_empty() { DEFAULT_KEY } else { &wanted.key };
    Ok(match or_problem(cx.get::<ConfigMap>(source.beside(name)))? {
        Err(problem) => Err(problem),
        Ok(None) => Err(Problem::new("CABundleNotFound", format!("There is no ConfigMap {name}"))),
        Ok(Some(map)) => match map.data.get(key) {
            None => Err(Problem::new("CABundleNotFound", format!("ConfigMap {name} has no key {key}"))),
            Some(pem) if !pem.contains("-----BEGIN CERTIFICATE-----") => {
                let message = format!("{key} of ConfigMap {name} has no certificate in PEM");
                Err(Problem::new("CABundleInvalid", message))
            }
            Some(pem) => Ok(Some(CaBundle { config_map: name.clone(), key: key.to_owned(), pem: pem.clone() })),
        },
    })
}

/// The headers that clients have to send, by name. Values in Secrets stay there.
pub fn headers<R: Reconciler>(
    cx: &Context<R>,
    source: &SourceRef,
    forward: Option<&HeaderForward>,
) -> Checked<Vec<Header>> {
    let Some(forward) = forward else { return Ok(Ok(Vec::new())) };
    let mut headers = Vec::new();
    for header in &forward.add_headers_from_secret {
        if let Err(problem) = secret_is_there(cx, source, &header.value_secret_ref)? {
            return Ok(Err(problem));
        }
        let secret_key_ref = Some(header.value_secret_ref.clone());
        headers.push(Header { name: header.header_name.clone(), value: None, secret_key_ref });
    }
    for (name, value) in &forward.add_plaintext_headers {
        // Of one name the one in a Secret counts.
        if !headers.iter().any(|header| header.name.eq_ignore_ascii_case(name)) {
            headers.push(Header { name: name.clone(), value: Some(value.clone()), secret_key_ref: None });
        }
    }
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Ok(headers))
}
