//! One GET, over plain HTTP or over HTTPS with a pinned service certificate.

use std::{path::Path, time::Duration};

use anyhow::Context;
use coco_client::{Client, Refusal, Settings};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    codes::Code,
    fault::{Fault, chain},
    files, session,
};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Time for the whole exchange.
const TIME: Duration = Duration::from_secs(10);

/// Fetches `path` from the node at `url`; anything but 200 is an error that shows the answer.
pub(crate) fn get(url: &str, path: &str, service_cert: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let url = url.trim_end_matches('/');
    let runtime = session::runtime()?;
    let (status, body) = match (url.strip_prefix("http://"), service_cert) {
        (Some(authority), _) => {
            let (status, body) = runtime.block_on(get_plain(authority, path)).map_err(|error| {
                Fault::new(Code::Unreachable, format!("{authority}: {error:#}"))
            })?;
            if !(200..300).contains(&status) {
                return Err(Fault::refused(url, &Refusal::read(status, &body)).into());
            }
            (status, body)
        }
        (None, None) if url.starts_with("https://") => {
            return Err(Fault::new(Code::NoServiceCertificate, url).into());
        }
        (None, None) => {
            let message = format!("{url} is no http or https URL");
            return Err(Fault::new(Code::UrlInvalid, message).into());
        }
        (None, Some(cert)) => {
            let service = session::certificate(&files::read_text(cert)?)?;
            let endpoint = session::endpoint(url)?;
            let client = Client::new(service, vec![endpoint], Settings { time: TIME })
                .map_err(|error| Fault::new(Code::KeyUnusable, chain(&error)))?;
            let answer = runtime.block_on(client.get(path)).map_err(Fault::from)?;
            (answer.status, answer.body)
        }
    };
    if status != 200 {
        let message = format!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
        return Err(Fault::new(Code::NotUnderstood, message).into());
    }
    Ok(body)
}

/// Fetches a path over plain HTTP; the status and the body.
pub(crate) async fn get_plain(authority: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let stream = TcpStream::connect(authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let task = tokio::spawn(connection);
        let request = Request::get(path).header(HOST, authority).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        task.abort();
        Ok((status, body.map_err(|error| anyhow::anyhow!(error))?.to_bytes().to_vec()))
    };
    timeout(TIME, exchange).await.with_context(|| format!("{authority} did not answer in time"))?
}
