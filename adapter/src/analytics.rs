//! The analytics filter's configuration, from the settings and the APIs.

use enforcer_analytics::config::{
    AnalyticsConfig, Api as AnalyticsApi, HttpSink, Operation as AnalyticsOperation, Sink as FilterSink,
};
use enforcer_core::config::{self, ConfigError};
use serde_json::json;

use crate::{
    diagnostic::Diagnostic,
    model::Api,
    settings::{Analytics, Collector, Sink},
    source::View,
    url::Url,
};

/// The configuration but for `apis`, and the servers that it calls by their clusters; or everything that is wrong.
/// `cluster` names the cluster of a server.
pub fn configure(
    settings: &Analytics,
    file: View<'_>,
    cluster: &mut dyn FnMut(&Url) -> String,
) -> Result<AnalyticsConfig, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut sinks = Vec::new();
    for (index, sink) in settings.sinks.iter().enumerate() {
        let (kind, collector, make): (_, _, fn(HttpSink) -> FilterSink) = match sink {
            Sink::Log(log) => {
                sinks.push(FilterSink::Log(*log));
                continue;
            }
            Sink::AccessLog(log) => {
                sinks.push(FilterSink::AccessLog(*log));
                continue;
            }
            Sink::Otlp(collector) => ("otlp", collector, FilterSink::Otlp),
            Sink::Json(collector) => ("json", collector, FilterSink::Json),
            Sink::Ndjson(collector) => ("ndjson", collector, FilterSink::Ndjson),
        };
        match http_sink(collector, cluster) {
            Ok(sink) => sinks.push(make(sink)),
            Err(problem) => {
                let place =
                    file.descend(["analytics", "sinks", index.to_string().as_str(), kind, "url"]).place();
                problems.push(problem.at(place).help("write it as `http://collector:4318`"));
            }
        }
    }
    let region = settings.region.clone();
    let config = AnalyticsConfig {
        sinks,
        metrics: settings.metrics.clone(),
        sampling: settings.sampling.clone(),
        unusual_use: settings.unusual_use,
        fields: settings.fields.clone(),
        ..AnalyticsConfig::default()
    };
    let region = region.unwrap_or_else(|| enforcer_analytics::event::UNKNOWN.to_owned());
    if problems.is_empty() { Ok(AnalyticsConfig { region, ..config }) } else { Err(problems) }
}

fn http_sink(collector: &Collector, cluster: &mut dyn FnMut(&Url) -> String) -> Result<HttpSink, Diagnostic> {
    let url = Url::parse(&collector.url)
        .map_err(|problem| Diagnostic::error(format!("the sink `{}` {problem}", collector.url)))?;
    let name = cluster(&url);
    // What the filter assumes is left to it.
    let plain: Result<HttpSink, ConfigError> = config::parse(json!({"cluster": name}).to_string().as_bytes());
    let plain = plain.map_err(|error| Diagnostic::error(error.to_string()))?;
    Ok(HttpSink {
        authority: url.authority(),
        path: if url.path == "/" { String::new() } else { url.path },
        headers: collector.headers.clone(),
        timeout: collector.timeout.unwrap_or(plain.timeout),
        batch: collector.batch.unwrap_or(plain.batch),
        interval: collector.interval.unwrap_or(plain.interval),
        queue: collector.queue.unwrap_or(plain.queue),
        ..plain
    })
}

/// An API as events show it.
pub fn api(api: &Api) -> AnalyticsApi {
    let operation = |operation: &crate::model::Operation| AnalyticsOperation {
        id: operation.id.clone(),
        path: operation.template.clone(),
        methods: vec![operation.method.clone()],
    };
    AnalyticsApi {
        name: api.name.clone(),
        version: api.version.clone(),
        hosts: api.hosts.clone(),
        base_path: api.base_path.clone(),
        operations: api.operations.iter().map(operation).collect(),
        ..AnalyticsApi::default()
    }
}
