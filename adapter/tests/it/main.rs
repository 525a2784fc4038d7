//! The command as its users meet it: the real binary, real files, a real Envoy where there is one.

// The attribute tells the linter what the folder tells people: here a failed `unwrap` is a failed test.
#[cfg(test)]
mod analytics;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod corpora;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod definitions;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod envoy;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod kgateway;
#[cfg(test)]
mod observability;
#[cfg(test)]
mod oidc;
#[cfg(test)]
mod report;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod schemas;
