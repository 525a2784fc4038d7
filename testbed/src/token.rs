use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::{Alg, Error, Keys};

/// A JSON Web Token to be, well formed unless told otherwise.
///
/// Without further calls: RS256, the `kid` of the key, `iat` now and `exp` an hour later. Every part can be
/// replaced by arbitrary bytes, and the signature still covers what is sent.
#[derive(Clone, Debug)]
pub struct TokenBuilder {
    keys: Arc<Keys>,
    alg: Alg,
    now: SystemTime,
    lifetime: Duration,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    absent: Vec<&'static str>,
    raw_header: Option<Vec<u8>>,
    raw_claims: Option<Vec<u8>>,
    raw_signature: Option<Vec<u8>>,
}

impl TokenBuilder {
    pub(crate) fn new(keys: Arc<Keys>) -> Self {
        Self {
            keys,
            alg: Alg::RS256,
            now: SystemTime::now(),
            lifetime: Duration::from_secs(3600),
            header: Map::new(),
            claims: Map::new(),
            absent: Vec::new(),
            raw_header: None,
            raw_claims: None,
            raw_signature: None,
        }
    }

    /// Signs with this algorithm, and says so in the header.
    #[must_use]
    pub fn alg(mut self, alg: Alg) -> Self {
        self.alg = alg;
        self
    }

    /// Sets a claim, also `iat`, `exp` and `iss`.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a header parameter, also `alg` and `kid`; the signature stays that of [`TokenBuilder::alg`].
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Names another key than the one that signs.
    #[must_use]
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Leaves out the header parameter or claim of this name.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.absent.push(name);
        self
    }

    /// Mints the token at another time than now: `iat` and `exp` follow. Two hours ago makes it an expired one.
    #[must_use]
    pub fn at(mut self, now: SystemTime) -> Self {
        self.now = now;
        self
    }

    /// How long after minting the token expires; one hour unless told otherwise.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sends these bytes as the header, whatever they are.
    #[must_use]
    pub fn raw_header(mut self, header: impl AsRef<[u8]>) -> Self {
        self.raw_header = Some(header.as_ref().to_vec());
        self
    }

    /// Sends these bytes as the claims, whatever they are.
    #[must_use]
    pub fn raw_claims(mut self, claims: impl AsRef<[u8]>) -> Self {
        self.raw_claims = Some(claims.as_ref().to_vec());
        self
    }

    /// Sends these bytes as the signature, and signs nothing.
    #[must_use]
    pub fn raw_signature(mut self, signature: impl AsRef<[u8]>) -> Self {
        self.raw_signature = Some(signature.as_ref().to_vec());
        self
    }

    /// What a signature covers: header and claims in base64url with a dot between (RFC 7515 section 5.1).
    pub fn signing_input(&self) -> String {
        let issued = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = json!({ "alg": self.alg.name(), "typ": "JWT", "kid": self.keys.kid(self.alg) });
        let claims = json!({
            "iat": issued.as_secs(),
            "exp": issued.saturating_add(self.lifetime).as_secs(),
        });
        let header = self.raw_header.clone().unwrap_or_else(|| self.assemble(header, &self.header));
        let claims = self.raw_claims.clone().unwrap_or_else(|| self.assemble(claims, &self.claims));
        format!("{}.{}", base64url(header), base64url(claims))
    }

    /// The token in its compact serialization.
    pub fn sign(&self) -> Result<String, Error> {
        let input = self.signing_input();
        let signature = match &self.raw_signature {
            Some(bytes) => bytes.clone(),
            None => self.keys.sign(self.alg, input.as_bytes())?,
        };
        Ok(format!("{input}.{}", base64url(signature)))
    }

    fn assemble(&self, defaults: Value, set: &Map<String, Value>) -> Vec<u8> {
        let Value::Object(mut members) = defaults else { return Vec::new() };
        members.extend(set.clone());
        members.retain(|name, _| !self.absent.contains(&name.as_str()));
        Value::Object(members).to_string().into_bytes()
    }
}

/// Base64url without padding (RFC 7515 section 2), for segments made by hand.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Verifier as _;
    use rsa::signature::Verifier as _;

    use super::*;

    fn decode(token: &str) -> (Value, Value, Vec<u8>) {
        let segments: Vec<Vec<u8>> = token.split('.').map(|s| URL_SAFE_NO_PAD.decode(s).unwrap()).collect();
        let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
        (json(&segments[0]), json(&segments[1]), segments[2].clone())
    }

    fn member(jwk: &Value, name: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn rs256_verifies_with_the_published_key() {
        let keys = Keys::shared().unwrap();
        let token = keys.token().claim("scope", "read:pets").sign().unwrap();
        let (header, claims, signature) = decode(&token);
        assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa-1" }));
        assert_eq!(claims["scope"], "read:pets");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);

        let jwk = &keys.jwks()["keys"][0];
        let integer = |name| rsa::BigUint::from_bytes_be(&member(jwk, name));
        let public = rsa::RsaPublicKey::new(integer("n"), integer("e")).unwrap();
        let verifier = rsa::pkcs1v15::VerifyingKey::<rsa::sha2::Sha256>::new(public);
        let signature = rsa::pkcs1v15::Signature::try_from(signature.as_slice()).unwrap();
        verifier.verify(token.rsplit_once('.').unwrap().0.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn es256_verifies_with_the_published_key() {
        let keys = Keys::shared().unwrap();
        let token = keys.token().alg(Alg::ES256).sign().unwrap();
        let jwk = &keys.jwks()["keys"][1];
        let point = [vec![4], member(jwk, "x"), member(jwk, "y")].concat();
        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
        let (header, _, signature) = decode(&token);
        assert_eq!((header["kid"].as_str(), signature.len()), (Some("ec-1"), 64));
        let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
        verifier.verify(token.rsplit_once('.').unwrap().0.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn every_part_can_be_hostile() {
        let keys = Keys::shared().unwrap();
        let token = keys.token().raw_header("{").raw_claims(b"\xff").raw_signature("").sign().unwrap();
        assert_eq!(token, "ew._w.");
        let (header, claims, _) = decode(
            &keys.token().header("alg", "none").kid("x").without("exp").without("typ").sign().unwrap(),
        );
        assert_eq!(header, json!({ "alg": "none", "kid": "x" }));
        assert!(claims.get("exp").is_none() && claims.get("iat").is_some());
    }

    #[test]
    fn time_is_the_callers() {
        let keys = Keys::shared().unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(1000);
        let (_, claims, _) =
            decode(&keys.token().at(at).expires_in(Duration::from_secs(5)).raw_signature("").sign().unwrap());
        assert_eq!(claims, json!({ "iat": 1000, "exp": 1005 }));
    }

    #[test]
    fn hs_is_the_hmac_of_rfc_4231() {
        let long: (&[u8], &[u8]) = (&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        for (alg, short_key, long_key) in [
            (Alg::HS256, [0x5b, 0xdc, 0xc1, 0x46], [0x60, 0xe4, 0x31, 0x59]),
            (Alg::HS384, [0xaf, 0x45, 0xd2, 0xe3], [0x4e, 0xce, 0x08, 0x44]),
            (Alg::HS512, [0x16, 0x4b, 0x7a, 0x7b], [0x80, 0xb2, 0x42, 0x63]),
        ] {
            assert_eq!(crate::hmac(alg, b"Jefe", b"what do ya want for nothing?")[..4], short_key);
            assert_eq!(crate::hmac(alg, long.0, long.1)[..4], long_key);
        }
    }

    #[test]
    fn every_algorithm_signs_as_its_name_says() {
        let keys = Keys::shared().unwrap();
        for (name, kid, length) in [
            ("RS384", "rsa-1", 256),
            ("PS512", "rsa-1", 256),
            ("ES384", "p384-1", 96),
            ("EdDSA", "ed-1", 64),
            ("HS512", "oct-1", 64),
        ] {
            let alg = Alg::of_name(name).unwrap();
            let (header, _, signature) = decode(&keys.token().alg(alg).sign().unwrap());
            assert_eq!(header, json!({ "alg": name, "typ": "JWT", "kid": kid }));
            assert_eq!(signature.len(), length, "{name}");
        }
        assert_eq!(Alg::of_name("ES512"), None);
    }
}
