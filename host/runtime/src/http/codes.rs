//! The codes of all errors that the API answers, each with a page: what it means, and what to do. An
//! error cannot be made of a code that is not in this list.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};

/// The page of an error code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorCode {
    /// The word in `error.code`.
    pub code: &'static str,
    /// Status of the HTTP answer.
    pub status: u16,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What it means and how it comes about.
    pub explanation: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// All error codes, in alphabetical order.
pub fn error_codes() -> &'static [ErrorCode] {
    CODES
}

macro_rules! codes {
    ($($name:ident: $code:literal, $status:ident, $title:literal, $explanation:literal, $remedy:literal;)*) => {
        /// What went wrong, one word per case.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Code {
            $($name,)*
        }

        /// In the order of [`Code`].
        static CODES: &[ErrorCode] = &[$(ErrorCode {
            code: $code,
            status: StatusCode::$status.as_u16(),
            title: $title,
            explanation: $explanation,
            remedy: $remedy,
        },)*];

        impl Code {
            pub(super) fn status(self) -> StatusCode {
                match self {
                    $(Code::$name => StatusCode::$status,)*
                }
            }
        }
    };
}

codes! {
    BadJson: "bad_json", BAD_REQUEST, "The body is not what was expected",
        "The body of the request is no JSON, or JSON of another shape than the endpoint takes. The message names \
         the place as line:column, or the field.",
        "Correct the body at that place. The reference of the HTTP API shows what each endpoint takes.";
    BadRequest: "bad_request", BAD_REQUEST, "The request makes no sense",
        "A parameter of the query or a part of the path is unknown, missing, given twice, or has no meaning for \
         this endpoint. Unknown parameters are errors because a mistyped filter would select everything.",
        "Correct the parameter that the message names; the hint says which ones there are.";
    BadSelector: "bad_selector", BAD_REQUEST, "The label selector cannot be read",
        "The parameter `labels` is not a label selector as kubectl writes it. The message names the character at \
         which it stops making sense.",
        "Write it as `app=a`, `app!=a`, `tier in (b,c)`, `tier notin (b,c)`, `present` or `!absent`, with commas \
         between requirements.";
    BodyTooLarge: "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "The body of a request may have at most 1 MiB. Nothing that the API takes is nearly as large.",
        "Send only what the endpoint takes; objects are defined by files in the resources directory.";
    DefinedByFile: "defined_by_file", CONFLICT, "A file defines the object",
        "The object is defined by a file of the resources directory. Deleted here, it would come back with the \
         next look at the file.",
        "Delete it from the file that the message names, or delete the file.";
    ForeignOrigin: "foreign_origin", FORBIDDEN, "The request comes from a page of another site",
        "A browser says that the request was made by a page of a site that is not on this machine. Such a page may \
         not change anything here.",
        "Use the command line, or a page that is served from localhost.";
    Internal: "internal", INTERNAL_SERVER_ERROR, "The host could not do it",
        "The request was right, and the host could not carry it out; most often its state cannot be written \
         because the disk is full or damaged. Nothing of the request is in force.",
        "See the message and the log of the host; make room on the disk of the state directory, then start the \
         host again.";
    KindAmbiguous: "kind_ambiguous", BAD_REQUEST, "The word means several kinds",
        "Several kinds have this name, plural or short name, in different API groups, and the request is about \
         one kind.",
        "Give the group as well: `KIND.GROUP` on the command line, `group` in a request.";
    KindUnknown: "kind_unknown", NOT_FOUND, "The kind is not known",
        "No plugin that is or was here brings a kind of this name, and it is not built in.",
        "Check the spelling; the hint names what was near. `setpoint plugins` shows which plugins run, and why \
         one that brings the kind may not.";
    MethodNotAllowed: "method_not_allowed", METHOD_NOT_ALLOWED, "The endpoint does not take this method",
        "There is an endpoint at this path, for another HTTP method.",
        "Use the method that the reference of the HTTP API shows.";
    NoSuchPath: "no_such_path", NOT_FOUND, "There is nothing at this path",
        "The path of the request is none of the API's.",
        "See the reference of the HTTP API. A key is CLUSTER/GROUP/KIND/NAMESPACE/NAME; the core group is written \
         `core`, no namespace `-`.";
    NotFound: "not_found", NOT_FOUND, "It is not there",
        "The kind is known, and no such object, plugin, cluster or held deletion exists.",
        "Check the name and the namespace: without one, `default` is meant. `setpoint get` shows all objects.";
    NotJson: "not_json", UNSUPPORTED_MEDIA_TYPE, "The body is not sent as JSON",
        "The endpoint takes a JSON body, and the header `Content-Type` does not say that it is one.",
        "Send the header `Content-Type: application/json`.";
    NotReconciled: "not_reconciled", CONFLICT, "No plugin reconciles the kind",
        "The object exists, and no plugin that runs now reconciles its kind: it has no plugin, the plugin was \
         removed, or it was refused.",
        "`setpoint plugins` shows the plugins that run and why others do not. Put the plugin into the plugins \
         directory.";
    NothingToConfirm: "nothing_to_confirm", CONFLICT, "Nothing waits to be confirmed",
        "Files are confirmed to be gone only when all files of the resources directory went at once and unseen, \
         which looks like an unmounted directory. That is not the case.",
        "Nothing has to be done. Single files are deleted by deleting them.";
    PluginUnknown: "plugin_unknown", NOT_FOUND, "There is no such plugin",
        "No plugin of this name runs, was refused, or has run since the host started.",
        "`setpoint plugins` shows the names; they are those that plugins give themselves, not those of files.";
    Refused: "refused", CONFLICT, "The change was refused",
        "A rule or the object's schema does not allow the change; the message says which. An annotation that is \
         set in a file, for example, is changed only there.",
        "Change what the message names.";
    ReleaseIncomplete: "release_incomplete", CONFLICT, "Not everything could be released",
        "Something was in the way of releasing an object; the message says what. Objects that were released stay \
         released, the others keep their finalizer. Released once more, it goes on where it stopped.",
        "Remove what is in the way, then release again.";
    RollbackRefused: "rollback_refused", CONFLICT, "The plugin stays as it is",
        "There is no previous component of the plugin to go back to, or it is refused now for the reason that the \
         message gives. What ran keeps running.",
        "Replace the file of the plugin by the component that shall run.";
    StillCounting: "still_counting", CONFLICT, "It is not known yet what would be deleted",
        "The plugin would delete so many children that they are held, and not all of its objects were looked at: \
         a confirmation would cover deletions that nobody was shown.",
        "`setpoint get held` says how many objects are left. Confirm when there are none, or go back with \
         `setpoint plugin rollback PLUGIN`.";
    StillReconciled: "still_reconciled", CONFLICT, "A plugin reconciles the kind",
        "Objects are released without their plugin, so without its clean-up. While a plugin reconciles the kind, \
         it would at once put back what was removed.",
        "Delete the objects and let the plugin clean up; or disable the kind or remove the plugin first.";
    StillRunning: "still_running", CONFLICT, "An attempt is still running",
        "The plugin was removed or the kind disabled just now, and an attempt that had begun before is ending.",
        "Ask again in a moment.";
    Stopping: "stopping", SERVICE_UNAVAILABLE, "The host is stopping",
        "The request was cut off because the host stops. It may or may not have been carried out.",
        "Ask again when the host is running.";
    TooMany: "too_many", BAD_REQUEST, "Too many objects are selected",
        "A plan calls the plugin for each object, so for at most 1 000 objects at a time.",
        "Select fewer: give a name, a namespace or labels.";
    Unauthorized: "unauthorized", UNAUTHORIZED, "The token is missing or wrong",
        "The host was started with a bearer token, and the request does not carry it.",
        "Send the header `Authorization: Bearer TOKEN`; commands take it from `--token-file FILE`.";
    WrongHost: "wrong_host", MISDIRECTED_REQUEST, "The request was meant for another host",
        "The host listens on loopback, and the request names another host in its address. Pages that rebind a \
         name of theirs to this machine do so.",
        "Use localhost, 127.0.0.1 or [::1] in the address.";
}

impl Code {
    pub(super) fn word(self) -> &'static str {
        CODES[self as usize].code
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_words_in_order_and_each_has_a_whole_page() {
        for pair in error_codes().windows(2) {
            assert!(pair[0].code < pair[1].code, "{} and {}", pair[0].code, pair[1].code);
        }
        for page in error_codes() {
            assert!(page.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", page.code);
            assert!(!page.title.ends_with('.') && !page.title.is_empty(), "{}", page.code);
            for text in [page.explanation, page.remedy] {
                assert!(text.ends_with('.') && !text.contains("  "), "{}: {text}", page.code);
            }
            assert!((400..600).contains(&page.status), "{}", page.code);
        }
    }

    #[test]
    fn a_code_finds_its_own_page() {
        assert_eq!((Code::BadJson.word(), Code::BadJson.status()), ("bad_json", StatusCode::BAD_REQUEST));
        assert_eq!((Code::WrongHost.word(), Code::WrongHost.status()), ("wrong_host", StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(serde_json::to_value(Code::TooMany).ok(), Some(serde_json::json!("too_many")));
    }
}
