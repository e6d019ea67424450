//! `whimbrel serve`: a node.

use clap::Args;

use crate::Error;
use crate::server;

/// Arguments of `whimbrel serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address for clients; port 0 takes any free port
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7379")]
    pub listen: String,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// [`Error::Listen`] when the address cannot be served, [`Error::System`] when the runtime does
/// not start.
pub fn run(args: ServeArgs) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("whimbrel-node")
        .build()
        .map_err(|source| Error::System { what: "cannot start the runtime", source })?;
    runtime.block_on(server::serve(&args.listen))
}
