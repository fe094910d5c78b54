//! How a command reaches a broker: a runtime for its short life, and a client that gives up sooner than a service would.
//! Owns these settings; never retries by itself. Runs on the CLI's main thread.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use ouzel_client::{Client, ClientConfig};

use crate::args::GlobalArgs;

/// How long a person waits for an answer before a reason is better.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs a command's conversation with a broker on this thread.
pub(crate) fn block_on<T>(main: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(main);
    // Whatever still runs belongs to a conversation that is over.
    runtime.shutdown_background();
    result
}

/// Connects to the first of the bootstrap addresses that answers.
pub(crate) async fn connect(global: &GlobalArgs) -> Result<Client> {
    let config = ClientConfig {
        name: concat!("ouzel-cli/", env!("CARGO_PKG_VERSION")).to_string(),
        operation_timeout: OPERATION_TIMEOUT,
        ..ClientConfig::default()
    };
    Ok(Client::connect(global.bootstrap.as_str(), config).await?)
}
