//! A hub's client as a transport of the SDK.

use std::future::Future;

use rmcp::service::{RoleClient, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;

use super::{Client, Sender};

/// Lets clients of the SDK speak with a server that a hub shares: `().serve(HubTransport::new(client))`.
#[derive(Debug)]
pub struct HubTransport {
    sender: Sender,
    client: Option<Client>,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum HubTransportError {
    /// The server has ended, or the client was let go.
    #[error(transparent)]
    Ended(#[from] super::Ended),
    /// The message has no JSON.
    #[error("the message cannot be written: {0}")]
    Message(#[from] serde_json::Error),
}

impl HubTransport {
    /// A transport to the server of this client.
    pub fn new(client: Client) -> Self {
        Self { sender: client.sender(), client: Some(client) }
    }
}

impl Transport<RoleClient> for HubTransport {
    type Error = HubTransportError;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let sender = self.sender.clone();
        async move { Ok(sender.send(serde_json::to_string(&item)?).await?) }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let client = self.client.as_mut()?;
        loop {
            let delivery = client.next().await?;
            // What the SDK does not know is passed over, as it does with other transports.
            match serde_json::from_str(&delivery.text) {
                Ok(message) => return Some(message),
                Err(error) if !delivery.text.is_empty() => tracing::debug!(%error, "a message is not understood"),
                Err(_) => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.client = None;
        Ok(())
    }
}
