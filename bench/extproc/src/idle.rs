//! Calls of Envoy's that stay open: requests whose backends take their time.

use std::{thread, time::Duration};

use enforcer_bench::{Result, load::HEADERS, process};
use envoy_types::pb::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    service::ext_proc::v3::{
        HttpHeaders, ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
        external_processor_client::ExternalProcessorClient, processing_request::Request,
        processing_response::Response,
    },
};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use crate::server::Server;

/// Envoy opens another connection for about as many.
const ON_ONE_CONNECTION: usize = 100;

type Call = (Sender<ProcessingRequest>, Streaming<ProcessingResponse>);

/// Memory of the server in MB, before and with so many requests in it.
pub(crate) fn measure(server: &Server, calls: usize, path: &str, token: &str) -> Result<(f64, f64)> {
    let megabytes = || -> Result<f64> { Ok(process::anonymous_memory(server.id())? / 1e3) };
    let before = megabytes()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let open = runtime.block_on(async {
        let mut open: Vec<Call> = Vec::with_capacity(calls);
        while open.len() < calls {
            let channel = Endpoint::try_from(format!("http://{}", server.address))?.connect().await?;
            for _ in 0..ON_ONE_CONNECTION {
                open.push(begin(ExternalProcessorClient::new(channel.clone()), path, token).await?);
            }
        }
        Ok::<_, enforcer_bench::Error>(open)
    })?;
    thread::sleep(Duration::from_secs(1));
    let with = megabytes()?;
    drop(open);
    Ok((before, with))
}

/// A request that is let through.
async fn begin(
    mut client: ExternalProcessorClient<tonic::transport::Channel>,
    path: &str,
    token: &str,
) -> Result<Call> {
    let (messages, stream) = mpsc::channel(1);
    let bearer = format!("Bearer {token}");
    let own = [(":method", "GET"), (":path", path), (":authority", "localhost"), ("authorization", &*bearer)];
    let header = |(key, value): (&str, &str)| HeaderValue {
        key: key.to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let headers = Some(HeaderMap { headers: own.into_iter().chain(HEADERS).map(header).collect() });
    let head = HttpHeaders { headers, end_of_stream: true, ..HttpHeaders::default() };
    let message = ProcessingRequest {
        request: Some(Request::RequestHeaders(head)),
        protocol_config: Some(ProtocolConfiguration::default()),
        ..ProcessingRequest::default()
    };
    messages.send(message).await?;
    let mut answers = client.process(ReceiverStream::new(stream)).await?.into_inner();
    match answers.message().await?.and_then(|answer| answer.response) {
        Some(Response::RequestHeaders(_)) => Ok((messages, answers)),
        other => Err(format!("a request is not let through: {other:?}").into()),
    }
}
