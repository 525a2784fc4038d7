//! A real Envoy and the world around it, for tests and the demo.
//!
//! What stands around an Enforcer in production, small enough to start in every test: an [`Envoy`], the
//! [`EchoBackend`] behind it, the identity provider ([`Issuer`]) beside it and a [`RawClient`] in front of it.
//! [`World`] starts any number of them and stops them in the right order.
//!
//! Everything listens on 127.0.0.1 on a port the kernel chose, everything has a deadline, and everything stops
//! when it is dropped, so a test that panics leaves no process and no thread behind. Envoy stays in the process
//! group of its test: a runner that kills the group (Ctrl-C, a nextest timeout) ends Envoy with it.
//!
//! ```no_run
//! use enforcer_testbed::{Request, World};
//!
//! let mut world = World::new()?;
//! let backend = world.backend("pets")?.address();
//! let envoy = world.start_envoy(&*format!("static_resources: ... {backend} ..."))?;
//! let answer = envoy.client("ingress")?.send(&Request::get("/pets"))?;
//! assert_eq!(answer.status, 200);
//! # Ok::<(), enforcer_testbed::Error>(())
//! ```

mod client;
mod echo;
mod envoy;
mod error;
mod fields;
#[cfg(feature = "grpc")]
mod grpc;
mod http1;
mod issuer;
mod keys;
mod log;
mod pem;
mod port;
mod process;
mod server;
mod tls;
mod token;
mod verify;
mod world;

pub use client::{Connection, RawClient, Request, Response};
pub use echo::EchoBackend;
pub use envoy::{Config, Envoy, EnvoyBinary, EnvoyOptions, Version};
pub use error::Error;
pub use fields::Fields;
#[cfg(feature = "grpc")]
pub use grpc::{GrpcReply, GrpcServer};
pub use issuer::{DISCOVERY_PATH, Issuer, JWKS_PATH};
pub use keys::{Alg, Keys, hmac};
pub use log::LogCapture;
pub use port::ReservedPort;
pub use process::Process;
pub use server::{Received, Reply};
pub use tls::Certified;
pub use token::{TokenBuilder, base64url};
pub use verify::{check_signature, token_part};
pub use world::World;
