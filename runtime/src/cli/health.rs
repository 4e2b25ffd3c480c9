//! `signalhouse health`: does a running broker serve. For container health checks and scripts.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode, Uri, header};
use clap::Args;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::exit::{Exit, complain};

#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// Where the broker serves HTTP.
    #[arg(long, default_value = "http://127.0.0.1:18083")]
    url: Uri,
    /// An API key, for a broker that wants one.
    #[arg(long, env = "SIGNALHOUSE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Whether it lives, instead of whether it takes clients.
    #[arg(long)]
    live: bool,
    /// How long the answer may take, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    timeout_ms: u64,
}

/// More than any answer has.
const ANSWER_BYTES: usize = 64 * 1024;

pub(super) fn run(args: &HealthArgs) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(Exit::Failed, &error),
    };
    let asked = runtime.block_on(async {
        #[allow(clippy::disallowed_methods)] // a tool, not the broker: the machine's time is right
        let answer = tokio::time::timeout(Duration::from_millis(args.timeout_ms), ask(args)).await;
        answer.map_err(|_| format!("no answer within {} ms", args.timeout_ms))?
    });
    match asked {
        Ok((StatusCode::OK, answer)) => {
            say!("{answer}");
            Exit::Orderly
        }
        Ok((status, answer)) => {
            complain(Exit::Failed, &format!("{}: {status}: {answer}", args.url))
        }
        Err(fault) => complain(Exit::Failed, &format!("{}: {fault}", args.url)),
    }
}

async fn ask(args: &HealthArgs) -> Result<(StatusCode, String), String> {
    if args.url.scheme_str() != Some("http") {
        return Err("the URL must begin with http://".to_owned());
    }
    let authority = args.url.authority().ok_or("the URL has no host")?;
    let at = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let path = if args.live { "/livez" } else { "/readyz" };
    let mut request = Request::get(path).header(header::HOST, authority.as_str());
    if let Some(key) = &args.key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
    // Ends with the runtime at the latest.
    drop(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await;
    let body: Bytes = body.map_err(|error| error.to_string())?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
