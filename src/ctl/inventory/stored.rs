//! Every image that was admitted on this node, by what is stored and the policy in force.

use assay_proto::v1 as proto;
use serde_json::json;

use super::Row;
use crate::ctl::client::ControlClient;
use crate::ctl::progress::Progress;
use crate::ctl::{Failure, render};

/// What these are not.
pub(super) const NOT_IN_IT: &str = "Images that came to this node without assayd being asked are not in it, nor those whose evidence was forgotten, nor \
                                    those that needed none.";

pub(super) async fn rows(mut client: ControlClient) -> Result<Vec<Row>, Failure> {
    let mut stream = client.inventory().await?;
    let mut progress = Progress::new();
    let mut rows = Vec::new();
    while let Some(answer) = stream.message().await? {
        let total = answer.total;
        rows.push(row(answer));
        progress.show(|| format!("judged {} of {total} images", rows.len()));
    }
    // The store's own order means nothing.
    rows.sort_by_cached_key(|row| (row.name.to_string(), row.descriptor.digest.clone()));
    Ok(rows)
}

fn row(answer: proto::InventoryResponse) -> Row {
    Row {
        name: answer.repository.into(),
        descriptor: answer.descriptor.unwrap_or_default(),
        verdict: answer.verdict,
        details: vec![
            ("recorded_at", json!(render::time(answer.recorded_at))),
            ("imported", json!(answer.imported)),
        ],
        remark: None,
    }
}
