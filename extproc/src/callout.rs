//! What filters call elsewhere: HTTP and unary gRPC, to the clusters of the configuration.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes};
use enforcer_harness::{
    HeaderMap,
    host::{GrpcCall, GrpcCallResult, HttpCall, HttpCallResult, HttpResponse},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::{HeaderName, HeaderValue, Method, Request, Uri, uri::PathAndQuery},
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::config::Cluster;

/// What a response may have. Filters take far less; the rest is a server gone wrong.
const LARGEST_RESPONSE: usize = 16 << 20;

/// How long a connection may take to come about, as in the clusters that `enforcer build` makes.
const CONNECT: Duration = Duration::from_secs(5);

/// Connections to every cluster of a configuration. Made when they are needed, and kept.
#[derive(Debug, Default)]
pub(crate) struct Servers(BTreeMap<String, Server>);

#[derive(Debug)]
struct Server {
    /// Scheme, host and port.
    origin: Uri,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    grpc: Channel,
}

impl Servers {
    /// Needs a Tokio runtime, on which connections live. An error says what is wrong with which cluster.
    pub(crate) fn new(clusters: &BTreeMap<String, Cluster>, folder: &Path) -> Result<Self, (String, String)> {
        let server = |(name, cluster): (&String, &Cluster)| {
            let server = Server::new(cluster, folder).map_err(|problem| (name.clone(), problem))?;
            Ok((name.clone(), server))
        };
        clusters.iter().map(server).collect::<Result<_, _>>().map(Self)
    }

    /// As Envoy answers: 503 for a connection that fails, 504 after the timeout.
    pub(crate) async fn http(self: Arc<Self>, call: HttpCall) -> HttpCallResult {
        let Some(server) = self.0.get(&call.cluster) else { return failed(503) };
        let timeout = call.timeout;
        match within(timeout, server.http(call)).await {
            Some(result) => result,
            None => failed(504),
        }
    }

    pub(crate) async fn grpc(self: Arc<Self>, call: GrpcCall) -> GrpcCallResult {
        let Some(server) = self.0.get(&call.cluster) else {
            return refused(Code::Unavailable, "no such cluster");
        };
        let timeout = call.timeout;
        match within(timeout, server.grpc(call)).await {
            Some(Ok(message)) => GrpcCallResult::Message(message),
            Some(Err(status)) => refused(status.code(), status.message()),
            None => refused(Code::DeadlineExceeded, ""),
        }
    }
}

async fn within<T>(timeout: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, work).await.ok(),
        None => Some(work.await),
    }
}

fn failed(status: u16) -> HttpCallResult {
    let headers = HeaderMap::from_iter([(":status", status.to_string())]);
    HttpCallResult::Response(HttpResponse { headers, body: Vec::new(), trailers: HeaderMap::new() })
}

fn refused(code: Code, message: &str) -> GrpcCallResult {
    GrpcCallResult::Failed { status: u32::try_from(code as i32).unwrap_or(2), message: message.to_owned() }
}

impl Server {
    fn new(cluster: &Cluster, folder: &Path) -> Result<Self, String> {
        let bad = |_| format!("`{}` is no URL: write it as `https://idp.example.com`", cluster.url);
        let origin: Uri = cluster.url.parse().map_err(bad)?;
        let bare = matches!(origin.path(), "" | "/") && origin.query().is_none();
        if !matches!(origin.scheme_str(), Some("http" | "https")) || origin.authority().is_none() || !bare {
            return Err(format!(
                "`{}` is no origin: write it as `https://idp.example.com`, without a path",
                cluster.url
            ));
        }
        let authorities = cluster.ca_file.as_ref().map(|file| {
            std::fs::read(folder.join(file))
                .map_err(|error| format!("cannot read `{}`: {error}", file.display()))
        });
        let authorities = authorities.transpose()?;
        let https = origin.scheme_str() == Some("https");
        let connector = connector(https, authorities.as_deref())?;
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .set_host(false)
            .build(connector);
        let mut endpoint = Endpoint::from(origin.clone()).connect_timeout(CONNECT);
        if https {
            let tls = match authorities {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls).map_err(|error| error.to_string())?;
        }
        Ok(Self { origin, http, grpc: endpoint.connect_lazy() })
    }

    async fn http(&self, call: HttpCall) -> HttpCallResult {
        let Some(request) = self.request(call) else { return HttpCallResult::Reset };
        let response = match self.http.request(request).await {
            Ok(response) => response,
            // Also for a connection that breaks before there are headers.
            Err(_) => return failed(503),
        };
        let (head, body) = response.into_parts();
        let mut headers = HeaderMap::from_iter([(":status", head.status.as_str())]);
        for (name, value) in &head.headers {
            headers.add(name.as_str(), value.as_bytes());
        }
        let Ok(body) = Limited::new(body, LARGEST_RESPONSE).collect().await else {
            return HttpCallResult::Reset;
        };
        let mut trailers = HeaderMap::new();
        for (name, value) in body.trailers().into_iter().flatten() {
            trailers.add(name.as_str(), value.as_bytes());
        }
        HttpCallResult::Response(HttpResponse { headers, body: body.to_bytes().to_vec(), trailers })
    }

    /// `None` if the module's headers are no request.
    fn request(&self, call: HttpCall) -> Option<Request<Full<Bytes>>> {
        let method = Method::from_bytes(call.headers.get(":method")?).ok()?;
        let path =
            PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(call.headers.get(":path")?)).ok()?;
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query = Some(path);
        let mut request = Request::builder().method(method).uri(Uri::from_parts(parts).ok()?);
        request = request.header("host", call.headers.get(":authority")?);
        for (name, value) in call.headers.iter().filter(|(name, _)| !name.starts_with(':') && *name != "host")
        {
            request = request.header(name, value);
        }
        request.body(Full::new(call.body.into())).ok()
    }

    async fn grpc(&self, call: GrpcCall) -> Result<Vec<u8>, Status> {
        let path = format!("/{}/{}", call.service, call.method);
        let path = PathAndQuery::from_maybe_shared(Bytes::from(path));
        let path = path.map_err(|_| Status::invalid_argument("no method has this name"))?;
        let mut client = Grpc::new(self.grpc.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = tonic::Request::new(call.message);
        *request.metadata_mut() = metadata(&call.initial_metadata);
        Ok(client.unary(request, path, Raw).await?.into_inner())
    }
}

fn metadata(headers: &HeaderMap) -> MetadataMap {
    let pairs = headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    });
    MetadataMap::from_headers(pairs.collect())
}

fn connector(https: bool, authorities: Option<&[u8]>) -> Result<HttpsConnector<HttpConnector>, String> {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut roots = RootCertStore::empty();
    if let Some(pem) = authorities {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        roots.add_parsable_certificates(
            certificates.map_err(|error| format!("`ca_file` is no PEM: {error:?}"))?,
        );
        if roots.is_empty() {
            return Err("`ca_file` has no certificate".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let builder = match authorities.is_some() || !https {
        true => {
            let config = config.with_root_certificates(roots).with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
        false => HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| format!("this system's certificates cannot be read: {error}; give `ca_file`"))?,
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

/// Messages as the bytes that modules make and read.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining()).to_vec()))
    }
}
