//! The module's variables, for logs, maps and what is sent to the function.

use ngx::core::Pool;
use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_VAR_NOCACHEABLE, NGX_OK, ngx_conf_t, ngx_escape_uri, ngx_http_add_variable,
    ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_pnalloc, ngx_str_t, ngx_uint_t,
};

use corefn_core::names::variable;
use corefn_core::path;
use corefn_engine::acquire::Start;

use crate::context::Context;
use crate::guard;
use crate::raw::constant;

/// A variable's value: bytes of the request's pool or of the configuration, or none.
type Value = Option<ngx_str_t>;

type Get = unsafe extern "C" fn(
    *mut ngx_http_request_t,
    *mut ngx_http_variable_value_t,
    usize,
) -> ngx_int_t;

/// Declares the variables.
pub fn add(cf: &mut ngx_conf_t) -> ngx_int_t {
    let variables: [(_, Get); 8] = [
        (variable::FUNCTION, get_function),
        (variable::REVISION, get_revision),
        (variable::INSTANCE, get_instance),
        (variable::START, get_start),
        (variable::WAIT, get_wait),
        (variable::URI, get_uri),
        (variable::PREFIX, get_prefix),
        (variable::CONNECTION, get_connection),
    ];
    for (name, get) in variables {
        let mut name = constant(name);
        // SAFETY: a valid configuration; the name is constant.
        let variable = unsafe {
            ngx_http_add_variable(cf, &mut name, NGX_HTTP_VAR_NOCACHEABLE as ngx_uint_t).as_mut()
        };
        let Some(variable) = variable else {
            return NGX_ERROR as ngx_int_t;
        };
        variable.get_handler = Some(get);
    }
    NGX_OK as ngx_int_t
}

/// Makes an entry point of a function that reads the value.
macro_rules! getter {
    ($name:ident, $read:expr) => {
        unsafe extern "C" fn $name(
            r: *mut ngx_http_request_t,
            value: *mut ngx_http_variable_value_t,
            _: usize,
        ) -> ngx_int_t {
            // SAFETY: nginx passes a valid request and a value to fill.
            let (r, value) = unsafe { (&*r, &mut *value) };
            let filled = guard::nothing(stringify!($name), || fill(value, $read(r)));
            if filled {
                return NGX_OK as ngx_int_t;
            }
            // nginx would take it for empty, and send the function what isn't true.
            guard::twice("revoke", || {
                if let Some(context) = Context::find(r) {
                    context.revoke();
                }
            });
            NGX_ERROR as ngx_int_t
        }
    };
}

getter!(get_function, |r| {
    let context = Context::find(r)?;
    let function = context.function.borrow();
    copy(r, function.as_ref()?.deployment.function.as_str())
});
getter!(get_revision, |r| copy(
    r,
    &Context::find(r)?.peer()?.instance.revision.0
));
getter!(get_instance, |r| copy(
    r,
    &Context::find(r)?.peer()?.instance.id.to_string()
));
getter!(get_start, |r| {
    let context = Context::find(r)?;
    context.peer()?;
    Some(constant(match context.start.get() {
        Start::Warm => c"warm",
        Start::Cold => c"cold",
    }))
});
getter!(get_wait, |r| {
    let waited = Context::find(r)?.waited();
    copy(r, &format!("{}.{:03}", waited / 1000, waited % 1000))
});
getter!(get_uri, |r| uri(r, Context::find(r)?.prefix.get()));
getter!(get_prefix, |r: &ngx_http_request_t| {
    let prefix = Context::find(r)?.prefix.get();
    part(&r.uri, 0, prefix)
});
getter!(get_connection, |r: &ngx_http_request_t| {
    Some(constant(if r.headers_in.upgrade.is_null() {
        c""
    } else {
        c"upgrade"
    }))
});

/// The path and query for the function: what the client sent, byte for byte, less the prefix. If
/// nginx has rewritten the path, then that, escaped again.
fn uri(r: &ngx_http_request_t, prefix: usize) -> Value {
    if r.valid_unparsed_uri() == 0 {
        return rewritten(r, prefix);
    }
    let (slash, rest) = path::behind(r.unparsed_uri.as_bytes(), prefix)?;
    if slash.is_empty() {
        return part(&r.unparsed_uri, prefix, r.unparsed_uri.len);
    }
    join(r, &[slash, rest])
}

fn rewritten(r: &ngx_http_request_t, prefix: usize) -> Value {
    let (slash, rest) = path::behind(r.uri.as_bytes(), prefix)?;
    let escaped = escape(r, rest)?;
    let question: &[u8] = if r.args.len > 0 { b"?" } else { b"" };
    join(r, &[slash, escaped.as_bytes(), question, r.args.as_bytes()])
}

/// A path with what must be escaped in it escaped, as nginx does it.
fn escape(r: &ngx_http_request_t, path: &[u8]) -> Value {
    const ESCAPE_URI: ngx_uint_t = 0;
    let from = path.as_ptr().cast_mut();
    // SAFETY: with no place to write to, nginx counts the bytes that must be escaped; each takes
    // two bytes more. So many are allocated.
    unsafe {
        let more = 2 * ngx_escape_uri(std::ptr::null_mut(), from, path.len(), ESCAPE_URI);
        let len = path.len() + more;
        let data = ngx_pnalloc(r.pool, len.max(1)).cast::<u8>();
        if data.is_null() {
            return None;
        }
        if more == 0 {
            data.copy_from_nonoverlapping(from, path.len());
        } else {
            ngx_escape_uri(data, from, path.len(), ESCAPE_URI);
        }
        Some(ngx_str_t { len, data })
    }
}

/// A part of a string, which stays where it is.
fn part(whole: &ngx_str_t, from: usize, to: usize) -> Value {
    let bytes = whole.as_bytes().get(from..to)?;
    Some(ngx_str_t {
        len: bytes.len(),
        data: bytes.as_ptr().cast_mut(),
    })
}

fn copy(r: &ngx_http_request_t, text: &str) -> Value {
    join(r, &[text.as_bytes()])
}

fn join(r: &ngx_http_request_t, parts: &[&[u8]]) -> Value {
    let len = parts.iter().map(|part| part.len()).sum();
    // SAFETY: a valid pool, from which as many bytes are allocated as are written.
    unsafe {
        let pool = Pool::from_ngx_pool(r.pool);
        let data = pool.alloc_unaligned(len).cast::<u8>();
        if data.is_null() {
            return None;
        }
        let mut end = data;
        for part in parts {
            end.copy_from_nonoverlapping(part.as_ptr(), part.len());
            end = end.add(part.len());
        }
        Some(ngx_str_t { len, data })
    }
}

fn fill(value: &mut ngx_http_variable_value_t, text: Value) {
    match text {
        Some(text) => {
            value.set_len(text.len as u32);
            value.set_valid(1);
            value.set_no_cacheable(0);
            value.set_not_found(0);
            value.data = text.data;
        }
        None => value.set_not_found(1),
    }
}
