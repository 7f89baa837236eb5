//! Seeing who holds an office, over lost connections.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use synod_etcd::proto::mvccpb::KeyValue;
use synod_etcd::proto::v3electionpb as pb;
use synod_etcd::proto::v3electionpb::election_client::ElectionClient;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Status, Streaming};

use crate::call::Kind;
use crate::client::Client;
use crate::error::Error;

/// Who holds an office, and what is proclaimed in it: each time that changes, the newest. What was
/// so only for a while in between may be left out.
///
/// It ends after an error, which is what a server refuses for good. Members that are away are
/// waited for, without an end. Dropping it ends it.
#[derive(Debug)]
pub struct Observer {
    said: mpsc::Receiver<Result<KeyValue, Error>>,
}

impl Observer {
    /// The key of the next holder, or of the same one, and what it proclaims now; `None` after the
    /// end. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<KeyValue, Error>> {
        self.said.recv().await
    }
}

impl Stream for Observer {
    type Item = Result<KeyValue, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.said.poll_recv(context)
    }
}

impl Client {
    /// Sees who holds an office from now on, beginning with whoever holds it, if anybody does.
    ///
    /// # Errors
    ///
    /// See [`Client::read`].
    pub async fn observe(&self, name: impl Into<Bytes>) -> Result<Observer, Error> {
        let (client, name) = (self.clone(), name.into());
        let opened = client.open_observe(&name).await?;
        // The newest is what counts: more need not wait.
        let (sender, said) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(error) = client.follow(&name, opened, &sender).await {
                // Nobody listens: then nobody needs to know.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Observer { said })
    }

    async fn open_observe(
        &self,
        name: &Bytes,
    ) -> Result<(usize, Streaming<pb::LeaderResponse>), Error> {
        let limit = Some(self.options.call_timeout);
        let asked = self.ask_from(Kind::Idempotent, limit, |service| {
            let mut request = Request::new(pb::LeaderRequest { name: name.clone() });
            // A member that is cut off from the others would be silent for as long as that lasts.
            let yes = AsciiMetadataValue::from_static("true");
            request.metadata_mut().insert("hasleader", yes);
            async move { ElectionClient::new(service).observe(request).await }
        });
        asked.await
    }

    async fn follow(
        &self,
        name: &Bytes,
        (mut at, mut stream): (usize, Streaming<pb::LeaderResponse>),
        said: &mpsc::Sender<Result<KeyValue, Error>>,
    ) -> Result<(), Error> {
        let mut told = 0;
        loop {
            let message = tokio::select! {
                () = said.closed() => return Ok(()),
                message = stream.message() => message,
            };
            let status = match message {
                Ok(Some(answer)) => {
                    self.saw(answer.header.as_ref());
                    if let Some(kv) = answer.kv.filter(|kv| kv.mod_revision > told) {
                        told = kv.mod_revision;
                        if said.send(Ok(kv)).await.is_err() {
                            return Ok(());
                        }
                    }
                    continue;
                }
                Ok(None) => Status::unavailable("the stream ended"),
                Err(status) => status,
            };
            self.stream_ended(at, &status)?;
            (at, stream) = loop {
                let opened = tokio::select! {
                    () = said.closed() => return Ok(()),
                    opened = self.open_observe(name) => opened,
                };
                match opened {
                    Err(error) if error.is_passing() => {}
                    opened => break opened?,
                }
            };
        }
    }
}
