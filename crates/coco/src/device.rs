//! Members' keys in devices: what PKCS #11 gives of them, by a URI (RFC 7512).
//!
//! ```text
//!   pkcs11:token=bank;object=acme?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin
//! ```
//!
//! The module is C code of the device's maker, which runs in this process: it is loaded for whoever names such a key, and by no
//! node. The private key stays in the device. Its PIN is asked for at the terminal, or read from a file that nobody else can
//! read; it is sent once, since a device that hears some wrong ones locks itself.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest;
use coco_crypto::{Curve, KeyError, PublicKey, SecretBytes, SignError, Signer};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as ModuleError, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::{
    codes::Code,
    fault::{Fault, chain},
    files,
};

/// What such a URI begins with.
pub(crate) const SCHEME: &str = "pkcs11:";
/// Names the module where the URI does not.
const MODULE_VARIABLE: &str = "COCO_PKCS11_MODULE";
/// Longest URI.
const URI_BYTES_MAX: usize = 4_096;

/// Where a key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Location {
    /// As it was typed. There is nothing secret in it.
    uri: String,
    token: Option<String>,
    serial: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: Option<PathBuf>,
    pin_source: Option<PathBuf>,
}

/// A device that does not do what is asked of it.
#[derive(Debug, Error)]
enum DeviceError {
    #[error("no module is named: module-path in the URI, or {MODULE_VARIABLE}")]
    NoModule,
    #[error("the module {0}")]
    Module(PathBuf, #[source] ModuleError),
    #[error("the module does not {0}")]
    Call(&'static str, #[source] ModuleError),
    #[error("{found} tokens are there that fit the URI, and one is meant")]
    Tokens { found: usize },
    #[error("{found} keys are there that fit the URI, and one is meant")]
    Keys { found: usize },
    #[error("the key is on no curve that members may have: P-256, P-384 or P-521")]
    Curve,
    #[error("the key is on {found:?}, and not on {wanted:?}")]
    OtherCurve { wanted: Curve, found: Curve },
    #[error(
        "the private half of the key is there, and the public half is not: put it there, or make a certificate elsewhere"
    )]
    Half,
    #[error("what the device signed does not verify by the public key: two keys may have one name")]
    OtherKey,
    #[error("the device does not give the public key in a known form")]
    Point(#[from] KeyError),
    #[error("there is no PIN: {0}")]
    Pin(String),
}

impl From<DeviceError> for Fault {
    fn from(error: DeviceError) -> Self {
        Self::new(Code::DeviceUnusable, chain(&error))
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(uri: &str) -> Result<Self, String> {
        let rest = uri.strip_prefix(SCHEME).ok_or("a URI of PKCS #11 begins with pkcs11:")?;
        if uri.len() > URI_BYTES_MAX {
            return Err(format!("a URI has at most {URI_BYTES_MAX} bytes"));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut location = Self { uri: uri.to_owned(), ..Self::default() };
        let named =
            path.split(';').map(|one| (one, true)).chain(query.split('&').map(|one| (one, false)));
        for (attribute, is_of_path) in named.filter(|(attribute, _)| !attribute.is_empty()) {
            // It is not repeated: somebody may have typed a PIN there.
            let (name, value) = attribute.split_once('=').ok_or("an attribute has no value")?;
            location.take(name, value, is_of_path)?;
        }
        Ok(location)
    }
}

impl Location {
    fn take(&mut self, name: &str, value: &str, is_of_path: bool) -> Result<(), String> {
        if name == "pin-value" || value.contains("pin-value=") {
            return Err(
                "a PIN does not belong where other programs see it: pin-source=file:PATH".into()
            );
        }
        let bytes: Vec<u8> = percent_decode_str(value).collect();
        let text = || String::from_utf8(bytes.clone()).map_err(|_| format!("{name} is not UTF-8"));
        let is_new = match (is_of_path, name) {
            (true, "token") => self.token.replace(text()?).is_none(),
            (true, "serial") => self.serial.replace(text()?).is_none(),
            (true, "object") => self.object.replace(text()?).is_none(),
            (true, "id") => self.id.replace(bytes).is_none(),
            (true, "type") if value == "private" => true,
            (false, "module-path") => self.module.replace(text()?.into()).is_none(),
            (false, "pin-source") => {
                let text = text()?;
                let path = text.strip_prefix("file:").unwrap_or(&text);
                self.pin_source.replace(path.into()).is_none()
            }
            _ => {
                return Err(format!(
                    "{name} is not understood: token, serial, object, id, type=private, ?module-path, &pin-source are"
                ));
            }
        };
        if is_new { Ok(()) } else { Err(format!("{name} is named twice")) }
    }

    /// Whether it means the same from any folder: a module is code, and which one must not depend on where somebody stands.
    pub(crate) fn is_absolute(&self) -> bool {
        let is_of_folder = |path: &Path| path.is_relative() && path.components().count() > 1;
        !self.module.as_deref().is_some_and(is_of_folder)
            && self.pin_source.as_deref().is_none_or(Path::is_absolute)
    }

    fn module(&self) -> Result<Pkcs11, DeviceError> {
        let variable = || env::var_os(MODULE_VARIABLE).map(PathBuf::from);
        load(&self.module.clone().or_else(variable).ok_or(DeviceError::NoModule)?)
    }

    fn fits(&self, token: &TokenInfo) -> bool {
        let same =
            |told: &Option<String>, found: &str| told.as_deref().is_none_or(|told| told == found);
        same(&self.token, token.label()) && same(&self.serial, token.serial_number())
    }

    /// The one token that is meant.
    fn slot(&self, module: &Pkcs11) -> Result<(Slot, TokenInfo), DeviceError> {
        let mut found = tokens(module)?;
        found.retain(|(_, token)| self.fits(token));
        match <[_; 1]>::try_from(found) {
            Ok([one]) => Ok(one),
            Err(found) => Err(DeviceError::Tokens { found: found.len() }),
        }
    }

    /// What a search for the key's objects of a class asks for.
    fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let mut template = vec![Attribute::Class(class), Attribute::KeyType(KeyType::EC)];
        template
            .extend(self.object.iter().map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(self.id.iter().map(|id| Attribute::Id(id.clone())));
        template
    }

    fn find(
        &self,
        session: &Session,
        class: ObjectClass,
    ) -> Result<Option<ObjectHandle>, DeviceError> {
        let found = session
            .find_objects(&self.template(class))
            .map_err(|error| DeviceError::Call("look for the key", error))?;
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(DeviceError::Keys { found: found.len() }),
        }
    }

    /// The PIN of the token; none, where the device asks for it itself.
    fn pin(&self, token: &TokenInfo) -> Result<Option<AuthPin>, DeviceError> {
        if token.protected_authentication_path() {
            return Ok(None);
        }
        let failed = |error: &dyn fmt::Display| DeviceError::Pin(error.to_string());
        let text = match &self.pin_source {
            Some(path) => {
                if !files::is_private(path).map_err(|fault| failed(&fault))? {
                    let open = Fault::new(Code::KeyOpenToOthers, path.display().to_string());
                    return Err(failed(&open));
                }
                let bytes = SecretBytes::new(files::read(path).map_err(|fault| failed(&fault))?);
                let text = str::from_utf8(bytes.expose().trim_ascii_end())
                    .map_err(|error| failed(&error))?;
                text.to_owned()
            }
            None => rpassword::prompt_password(format!("PIN for token {:?}: ", token.label()))
                .map_err(|error| failed(&format!("{error}; pin-source=file:PATH names one")))?,
        };
        Ok(Some(AuthPin::from(text)))
    }

    fn enter(&self, module: &Pkcs11) -> Result<Session, DeviceError> {
        let (slot, token) = self.slot(module)?;
        let session = module
            .open_rw_session(slot)
            .map_err(|error| DeviceError::Call("open a session", error))?;
        let pin = self.pin(&token)?;
        match session.login(UserType::User, pin.as_ref()) {
            // Another key of this process came first.
            Ok(()) | Err(ModuleError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(DeviceError::Call("let its user in", error)),
        }
    }

    /// The public half of the key; it is made on this curve, P-384 if none is named, if the device has none. It never leaves the
    /// device.
    pub(crate) fn find_or_make(&self, curve: Option<Curve>) -> Result<(DeviceKey, Made), Fault> {
        let module = self.module()?;
        let session = self.enter(&module)?;
        let (handle, made) = match self.find(&session, ObjectClass::PUBLIC_KEY)? {
            Some(found) => (found, Made::Before),
            // Another pair of that name would leave neither of use.
            None if self.find(&session, ObjectClass::PRIVATE_KEY)?.is_some() => {
                return Err(DeviceError::Half.into());
            }
            None => (self.make(&session, curve.unwrap_or(Curve::P384))?, Made::Now),
        };
        let public = public_key(&session, handle)?;
        if let Some(wanted) = curve.filter(|wanted| *wanted != public.curve()) {
            return Err(DeviceError::OtherCurve { wanted, found: public.curve() }.into());
        }
        let key = DeviceKey::new(self.clone(), public);
        *key.entered.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        Ok((key, made))
    }

    fn make(&self, session: &Session, curve: Curve) -> Result<ObjectHandle, DeviceError> {
        let label = self.object.clone().unwrap_or_else(|| "coco".to_owned());
        let id = self
            .id
            .clone()
            .unwrap_or_else(|| coco_crypto::sha256(label.as_bytes()).0[..8].to_vec());
        let names = || [Attribute::Label(label.clone().into_bytes()), Attribute::Id(id.clone())];
        let mut public = vec![
            Attribute::Token(true),
            Attribute::Verify(true),
            Attribute::EcParams(oid(curve).to_vec()),
        ];
        public.extend(names());
        let mut private = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        private.extend(names());
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .map(|(public, _)| public)
            .map_err(|error| DeviceError::Call("make a key", error))
    }
}

/// Whether a key was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Before,
    Now,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// A key in a device, which is entered at the first signature.
pub(crate) struct DeviceKey {
    location: Location,
    public: PublicKey,
    entered: Mutex<Option<Session>>,
}

impl DeviceKey {
    /// The key there, whose public half is known from elsewhere. Whether it is that key's, its signatures show.
    pub(crate) const fn new(location: Location, public: PublicKey) -> Self {
        Self { location, public, entered: Mutex::new(None) }
    }

    fn sign_there(&self, message: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let hash = match self.public.curve() {
            Curve::P256 => &digest::SHA256,
            Curve::P384 => &digest::SHA384,
            Curve::P521 => &digest::SHA512,
        };
        let hashed = digest::digest(hash, message);
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if entered.is_none() {
            *entered = Some(self.location.enter(&self.location.module()?)?);
        }
        let session = entered.as_ref().ok_or(DeviceError::Keys { found: 0 })?;
        let key = self.location.find(session, ObjectClass::PRIVATE_KEY)?;
        let key = key.ok_or(DeviceError::Keys { found: 0 })?;
        let signature = session
            .sign(&Mechanism::Ecdsa, key, hashed.as_ref())
            .map_err(|error| DeviceError::Call("sign", error))?;
        match self.public.verify_fixed(message, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(DeviceError::OtherKey),
        }
    }
}

impl Signer for DeviceKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.sign_there(message).map_err(|error| SignError { reason: chain(&error) })
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.location)
    }
}

/// A token, and a key on it that can be seen without a PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) token: String,
    pub(crate) serial: String,
    /// The label of the key, and the key if it is on a curve that members may have; nothing for a token without keys.
    pub(crate) key: Option<(String, Option<PublicKey>)>,
}

/// What a module's tokens show without a PIN: public keys.
pub(crate) fn look(module: &Path) -> Result<Vec<Seen>, Fault> {
    let module = load(module)?;
    let mut seen = Vec::new();
    for (slot, token) in tokens(&module)? {
        let session = module
            .open_ro_session(slot)
            .map_err(|error| DeviceError::Call("open a session", error))?;
        let found = session
            .find_objects(&Location::default().template(ObjectClass::PUBLIC_KEY))
            .map_err(|error| DeviceError::Call("look for keys", error))?;
        let (name, serial) = (token.label().to_owned(), token.serial_number().to_owned());
        let of = |key| Seen { token: name.clone(), serial: serial.clone(), key };
        if found.is_empty() {
            seen.push(of(None));
        }
        for handle in found {
            let label = session
                .get_attributes(handle, &[AttributeType::Label])
                .map_err(|error| DeviceError::Call("show a key", error))?;
            let label = label.into_iter().find_map(|one| match one {
                Attribute::Label(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                _ => None,
            });
            seen.push(of(Some((label.unwrap_or_default(), public_key(&session, handle).ok()))));
        }
    }
    Ok(seen)
}

/// The modules that were loaded. They stay until the process ends: one may have threads of its own.
static MODULES: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

fn load(path: &Path) -> Result<Pkcs11, DeviceError> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, module)) = modules.iter().find(|(loaded, _)| loaded == path) {
        return Ok(module.clone());
    }
    let failed = |error| DeviceError::Module(path.to_owned(), error);
    let module = Pkcs11::new(path).map_err(failed)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(failed)?;
    modules.push((path.to_owned(), module.clone()));
    Ok(module)
}

fn tokens(module: &Pkcs11) -> Result<Vec<(Slot, TokenInfo)>, DeviceError> {
    let failed = |error| DeviceError::Call("list its tokens", error);
    let slots = module.get_slots_with_initialized_token().map_err(failed)?;
    slots.into_iter().map(|slot| Ok((slot, module.get_token_info(slot).map_err(failed)?))).collect()
}

fn public_key(session: &Session, handle: ObjectHandle) -> Result<PublicKey, DeviceError> {
    let found = session
        .get_attributes(handle, &[AttributeType::EcParams, AttributeType::EcPoint])
        .map_err(|error| DeviceError::Call("show the key", error))?;
    let (mut curve, mut point) = (None, Vec::new());
    for attribute in found {
        match attribute {
            Attribute::EcParams(params) => {
                curve = Curve::ALL.into_iter().find(|curve| oid(*curve) == params);
            }
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    let curve = curve.ok_or(DeviceError::Curve)?;
    Ok(PublicKey::from_point(curve, unwrapped(curve, &point))?)
}

/// The point in an octet string of DER, as it should be; some devices leave that out.
fn unwrapped(curve: Curve, point: &[u8]) -> &[u8] {
    let bytes = match curve {
        Curve::P256 => 65,
        Curve::P384 => 97,
        Curve::P521 => 133,
    };
    match point {
        bare if bare.len() == bytes => bare,
        [0x04, 0x81, length, inner @ ..] | [0x04, length, inner @ ..]
            if inner.len() == bytes && usize::from(*length) == bytes =>
        {
            inner
        }
        other => other,
    }
}

/// The object identifier of a curve, in DER (RFC 5480).
const fn oid(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        Curve::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        Curve::P521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_where_a_key_is() {
        let uri = "pkcs11:token=my%20bank;object=acme;id=%01%ff;type=private?module-path=/m.so&pin-source=file:/run/pin";
        let read: Location = uri.parse().unwrap();
        assert_eq!(read.token.as_deref(), Some("my bank"));
        assert_eq!(read.id.as_deref(), Some(&[1, 0xff][..]));
        assert_eq!(read.module.as_deref(), Some(Path::new("/m.so")));
        assert_eq!(read.pin_source.as_deref(), Some(Path::new("/run/pin")));
        assert_eq!(read.to_string(), uri);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (uri, named) in [
            ("acme.pem", "pkcs11:"),
            ("pkcs11:token", "no value"),
            ("pkcs11:colour=red", "colour"),
            ("pkcs11:token=a;token=b", "twice"),
            ("pkcs11:type=public", "type"),
            ("pkcs11:object=a?pin-value=1234", "pin-source"),
            ("pkcs11:object=a;pin-value=1234", "pin-source"),
            ("pkcs11:object=a&pin-value=1234", "pin-source"),
            ("pkcs11:object=a?1234", "no value"),
            ("pkcs11:module-path=/m.so", "module-path"),
            ("pkcs11:object=%ff", "UTF-8"),
        ] {
            let refused = uri.parse::<Location>().unwrap_err();
            assert!(refused.contains(named), "{uri}: {refused}");
            assert!(!refused.contains("1234"), "{refused}");
        }
    }

    #[test]
    fn a_point_is_taken_with_and_without_its_wrapping() {
        for (curve, bytes) in [(Curve::P256, 65_u8), (Curve::P384, 97), (Curve::P521, 133)] {
            // A coordinate may look like the length of what is wrapped.
            for first in [0x07, bytes - 2] {
                let bare = [&[4, first][..], &vec![7; usize::from(bytes) - 2]].concat();
                let head: &[u8] = if bytes < 0x80 { &[4, bytes] } else { &[4, 0x81, bytes] };
                assert_eq!(unwrapped(curve, &bare), bare, "{curve:?} {first}");
                assert_eq!(unwrapped(curve, &[head, &bare].concat()), bare, "{curve:?} {first}");
            }
            assert_eq!(unwrapped(curve, &[]), &[] as &[u8]);
        }
    }
}
