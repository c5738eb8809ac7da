//! Subscriptions: what is delivered, and what becomes of a subscriber that does not keep up.

use std::sync::Arc;

use jar_cap::Hash;
use jsonrpsee::core::SubscriptionError;
use jsonrpsee::core::server::{PendingSubscriptionSink, SendTimeoutError, SubscriptionSink};
use jsonrpsee::types::ErrorObjectOwned;
use serde::Serialize;
use serde_json::value::to_raw_value;
use tokio::sync::watch;

use super::Context;
use super::follow::{Cursor, Follow};
use crate::backend::Published;
use crate::errors::{ErrorKind, RpcError};
use crate::params::{Param, optional};
use crate::types::{EventState, EventStatus, Hash32, HeadItem, Number};

/// Why a subscription ends.
enum End {
    /// The client has gone, unsubscribed, or was told all there is.
    Done,
    /// With an error, which the client is told.
    Error(RpcError),
}

impl From<RpcError> for End {
    fn from(error: RpcError) -> Self {
        End::Error(error)
    }
}

impl End {
    /// What the library makes the last notification of.
    fn close(self) -> Result<(), SubscriptionError> {
        match self {
            End::Done => Ok(()),
            End::Error(error) => Err(match to_raw_value(&error.to_json()) {
                Ok(json) => SubscriptionError::from_json(json),
                Err(_) => SubscriptionError::from(error),
            }),
        }
    }
}

async fn refuse(pending: PendingSubscriptionSink, error: RpcError) {
    pending.reject(ErrorObjectOwned::from(error)).await;
}

/// Sends an item, or gives up on a client that does not take it in time.
async fn send(
    context: &Context,
    sink: &SubscriptionSink,
    item: &impl Serialize,
) -> Result<(), End> {
    let item = to_raw_value(item).map_err(|error| RpcError::about(ErrorKind::Internal, error))?;
    match sink.send_timeout(item, context.limits.lag).await {
        Ok(()) => Ok(()),
        Err(SendTimeoutError::Closed(_)) => Err(End::Done),
        Err(SendTimeoutError::Timeout(_)) => Err(RpcError::from(ErrorKind::Lagging).into()),
    }
}

/// Waits until the node publishes something.
async fn change(
    published: &mut watch::Receiver<Published>,
    sink: &SubscriptionSink,
) -> Result<(), End> {
    tokio::select! {
        () = sink.closed() => Err(End::Done),
        changed = published.changed() => {
            changed.map_err(|_| RpcError::from(ErrorKind::ShuttingDown).into())
        }
    }
}

fn top(which: Follow, published: &Published) -> u64 {
    match which {
        Follow::Heads => published.head.header.height,
        Follow::Finalized => published.finalized_height,
    }
}

fn start(from: Option<Param<Number>>, top: u64) -> Result<u64, RpcError> {
    match optional(from)? {
        None => Ok(top),
        Some(Number(from)) if from <= top.saturating_add(1) => Ok(from),
        Some(Number(from)) => Err(RpcError::about(
            ErrorKind::NotYet,
            format!("{from}, and the newest is {top}"),
        )),
    }
}

/// Delivers blocks from a height on, for as long as the client listens.
pub(crate) async fn blocks(
    context: Arc<Context>,
    pending: PendingSubscriptionSink,
    from: Option<Param<Number>>,
    which: Follow,
) -> Result<(), SubscriptionError> {
    let mut published = context.backend.published();
    let newest = top(which, &published.borrow());
    let from = match start(from, newest) {
        Ok(from) => from,
        Err(error) => {
            refuse(pending, error).await;
            return Ok(());
        }
    };
    let Ok(sink) = pending.accept().await else {
        return Ok(());
    };
    let mut cursor = Cursor::new(from);
    loop {
        let newest = top(which, &published.borrow_and_update());
        let delivered = deliver(&context, &sink, &mut cursor, newest).await;
        if let Err(end) = delivered {
            return end.close();
        }
        if let Err(end) = change(&mut published, &sink).await {
            return end.close();
        }
    }
}

async fn deliver(
    context: &Arc<Context>,
    sink: &SubscriptionSink,
    cursor: &mut Cursor,
    newest: u64,
) -> Result<(), End> {
    loop {
        let (reader, mut next) = (context.clone(), cursor.clone());
        let read = move || {
            let store = reader.backend.chain().store();
            let steps = next.step(store.as_ref(), newest)?;
            Ok((steps, next))
        };
        let (steps, next) = context.reads.run(read).await?;
        *cursor = next;
        if steps.is_empty() {
            return Ok(());
        }
        for step in steps {
            let item = HeadItem {
                block: context.described(step.hash, &step.stored),
                reverted: step.reverted,
            };
            let resume = crate::types::number(step.stored.header.height);
            send(context, sink, &item).await.map_err(|end| match end {
                End::Error(error) => End::Error(error.with("from", resume)),
                End::Done => End::Done,
            })?;
        }
    }
}

/// Delivers an event's status whenever it changes, until it cannot change any more.
pub(crate) async fn status(
    context: Arc<Context>,
    pending: PendingSubscriptionSink,
    id: Param<Hash32>,
) -> Result<(), SubscriptionError> {
    let id = match id.get() {
        Ok(id) => id.0,
        Err(error) => {
            refuse(pending, error).await;
            return Ok(());
        }
    };
    let Ok(sink) = pending.accept().await else {
        return Ok(());
    };
    match status_changes(&context, &sink, id).await {
        Ok(()) => Ok(()),
        Err(end) => end.close(),
    }
}

async fn status_changes(
    context: &Arc<Context>,
    sink: &SubscriptionSink,
    id: Hash,
) -> Result<(), End> {
    let mut published = context.backend.published();
    let mut told: Option<EventStatus> = None;
    loop {
        published.mark_unchanged();
        let reader = context.clone();
        let status = context.reads.run(move || reader.status_of(id)).await?;
        if told.as_ref() != Some(&status) {
            send(context, sink, &status).await?;
        }
        if is_settled(&status) {
            return Ok(());
        }
        told = Some(status);
        change(&mut published, sink).await?;
    }
}

fn is_settled(status: &EventStatus) -> bool {
    match status.status {
        EventState::Dropped => true,
        EventState::Included => status
            .inclusions
            .iter()
            .any(|inclusion| inclusion.finalized),
        EventState::Pending | EventState::Unknown => false,
    }
}
