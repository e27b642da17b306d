//! How clients authenticate, as far as it can be judged here.
//!
//! Setpoint opens no sessions: logging in, forwarding and exchanging tokens is done by whoever calls
//! the server. What can be wrong with the spec is said; the CRD refuses the rest.

use setpoint_sdk::prelude::*;

use crate::spec::{Auth, MCPServerSpec};

/// Who brings the credentials.
pub struct AuthMode {
    pub code: &'static str,
    pub message: &'static str,
    /// What is wrong with it: a reason and a sentence.
    pub problem: Option<(&'static str, &'static str)>,
}

/// None if the spec says nothing about it.
pub fn mode(spec: &MCPServerSpec) -> Option<AuthMode> {
    let auth = spec.auth.as_ref()?;
    let mut mode = declared(auth)?;
    if spec.is_stdio() {
        mode.problem = Some(("NotForStdio", "spec.auth has no effect on a server of type stdio"));
    }
    Some(mode)
}

fn declared(auth: &Auth) -> Option<AuthMode> {
    if let Some(exchange) = auth.token_exchange.as_ref().filter(|exchange| exchange.enabled) {
        let complete = !exchange.dex_token_endpoint.is_empty() && !exchange.connector_id.is_empty();
        let message = match auth.forward_token {
            true => "Clients exchange their token; tokenExchange goes before forwardToken. Setpoint opens no session",
            false => "Clients exchange their token for one of the server's issuer; Setpoint opens no session",
        };
        let problem = "spec.auth.tokenExchange needs dexTokenEndpoint and connectorId";
        let problem = (!complete).then_some(("TokenExchangeIncomplete", problem));
        return Some(AuthMode { code: "TokenExchange", message, problem });
    }
    if auth.forward_token {
        let message = "Clients forward their token to the server; Setpoint opens no session";
        return Some(AuthMode { code: "TokenForwarding", message, problem: None });
    }
    let message = "Clients log in to the server with OAuth; Setpoint opens no session";
    (auth.auth_type == "oauth").then_some(AuthMode { code: "OAuth", message, problem: None })
}

/// The condition `AuthConfigured`, if the spec says anything about it.
pub fn with_condition<S>(outcome: Outcome<S>, mode: Option<&AuthMode>) -> Outcome<S> {
    let Some(mode) = mode else { return outcome };
    match mode.problem {
        None => outcome.condition("AuthConfigured", true, mode.code, mode.message),
        Some((code, message)) => outcome.condition("AuthConfigured", false, code, message),
    }
}
