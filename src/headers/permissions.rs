use http::HeaderValue;

macro_rules! features {
    ($($name:ident $text:literal;)+) => {
        /// A feature of the browser that `Permissions-Policy` can deny: those on the list of the OWASP Secure Headers
        /// Project.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Feature {
            $(#[doc = concat!("`", $text, "`")] $name,)+
        }

        impl Feature {
            /// Every feature, in the order in which they are sent.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name that browsers know it by.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

features! {
    Accelerometer "accelerometer";
    Autoplay "autoplay";
    Camera "camera";
    CrossOriginIsolated "cross-origin-isolated";
    DisplayCapture "display-capture";
    EncryptedMedia "encrypted-media";
    Fullscreen "fullscreen";
    Geolocation "geolocation";
    Gyroscope "gyroscope";
    KeyboardMap "keyboard-map";
    Magnetometer "magnetometer";
    Microphone "microphone";
    Midi "midi";
    Payment "payment";
    PictureInPicture "picture-in-picture";
    PublickeyCredentialsGet "publickey-credentials-get";
    ScreenWakeLock "screen-wake-lock";
    SyncXhr "sync-xhr";
    Usb "usb";
    WebShare "web-share";
    XrSpatialTracking "xr-spatial-tracking";
    ClipboardRead "clipboard-read";
    ClipboardWrite "clipboard-write";
    Gamepad "gamepad";
    Hid "hid";
    IdleDetection "idle-detection";
    InterestCohort "interest-cohort";
    Serial "serial";
    Unload "unload";
}

/// `Permissions-Policy`: which features of the browser a page may use. None of [`Feature`], unless it is opened by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PermissionsPolicy {
    opened: Vec<Feature>,
}

impl PermissionsPolicy {
    /// Denies all of [`Feature::ALL`] to everyone, but for `sync-xhr`, which the origin itself keeps.
    #[must_use]
    pub const fn new() -> Self {
        Self { opened: Vec::new() }
    }

    /// Opens `feature` to this origin's own pages: a camera for a video visit, say. Other origins stay out.
    #[must_use]
    pub fn danger_open(mut self, feature: Feature) -> Self {
        if !self.opened.contains(&feature) {
            self.opened.push(feature);
        }
        self
    }

    /// What was opened, for whoever lists what was weakened.
    #[must_use]
    pub fn opened(&self) -> &[Feature] {
        &self.opened
    }

    pub(super) fn value(&self) -> HeaderValue {
        let mut text = String::with_capacity(640);
        for feature in Feature::ALL {
            let own = *feature == Feature::SyncXhr || self.opened.contains(feature);
            let separator = if text.is_empty() { "" } else { ", " };
            let list = if own { "=(self)" } else { "=()" };
            text.extend([separator, feature.as_str(), list]);
        }
        HeaderValue::try_from(text).expect("the names of features are ASCII letters and hyphens")
    }
}
