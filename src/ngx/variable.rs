//! Variables, for logs, maps and what is sent on.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use ngx::ffi::{
    __BindgenBitfieldUnit, NGX_ERROR, NGX_HTTP_VAR_CHANGEABLE, NGX_HTTP_VAR_NOCACHEABLE, NGX_OK,
    ngx_conf_t, ngx_http_add_variable, ngx_http_get_indexed_variable, ngx_http_get_variable_index,
    ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_uint_t,
};

use super::request::constant;
use super::{Request, guard};

/// A variable.
#[derive(Clone, Copy)]
pub struct Variable {
    /// Its name, less the `$`.
    pub name: &'static CStr,
    /// By what name its reading is guarded.
    pub entry: &'static str,
    /// Reads its value; it may have none. Of one that only the configuration gives a value there is nothing to read.
    pub read: Option<Read>,
    /// Reading it has panicked: its value all the same, if there is one. nginx takes one without for empty.
    pub on_panic: Read,
    /// How nginx keeps its value.
    pub kept: Kept,
}

/// Reads the value of a variable.
pub type Read = for<'r> fn(Request<'r>) -> Option<&'r [u8]>;

/// How nginx keeps the value of a variable.
#[derive(Clone, Copy)]
pub enum Kept {
    /// Not at all: it is read anew each time.
    Never,
    /// For as long as the request; and the configuration may give it another, as by `map`.
    Given,
}

impl Kept {
    const fn flags(self) -> u32 {
        match self {
            Self::Never => NGX_HTTP_VAR_NOCACHEABLE,
            Self::Given => NGX_HTTP_VAR_CHANGEABLE,
        }
    }
}

/// Where nginx keeps the value of a variable, of whatever module.
#[derive(Clone, Copy)]
pub struct Index(ngx_uint_t);

impl Index {
    /// That of a variable, while the configuration is read. None if there is no memory.
    pub fn of(cf: &mut ngx_conf_t, name: &'static CStr) -> Option<Self> {
        let mut name = constant(name);
        // SAFETY: a configuration that is read; the name is constant.
        let index = unsafe { ngx_http_get_variable_index(cf, &mut name) };
        ngx_uint_t::try_from(index).ok().map(Self)
    }

    /// Its value for a request, if it has one.
    pub fn value(self, r: Request<'_>) -> Option<&[u8]> {
        // SAFETY: a request has room for the values of all indices. What is in it stays until it is set again, and what it
        // points to is the request's.
        unsafe {
            let value = ngx_http_get_indexed_variable(r.as_ptr(), self.0).as_ref()?;
            let has_one = value.valid() == 1 && value.not_found() == 0 && !value.data.is_null();
            has_one.then(|| std::slice::from_raw_parts(value.data, value.len() as usize))
        }
    }
}

/// Declares variables, before the configuration is read. None if there is no memory.
pub fn add(cf: &mut ngx_conf_t, variables: &'static [Variable]) -> Option<()> {
    for variable in variables {
        let mut name = constant(variable.name);
        let flags = variable.kept.flags() as ngx_uint_t;
        // SAFETY: a configuration that is read; the name is constant.
        let added = unsafe { ngx_http_add_variable(cf, &mut name, flags).as_mut()? };
        added.get_handler = match variable.read {
            Some(_) => Some(get),
            None => Some(get_nothing),
        };
        added.data = ptr::from_ref(variable).expose_provenance();
    }
    Some(())
}

/// Called by nginx for the value of one.
unsafe extern "C" fn get(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes a request, which does not end by this, a value to fill, and the data that add() has set.
    let (r, value, variable) = unsafe {
        let variable = &*ptr::with_exposed_provenance::<Variable>(data);
        (Request::new(r), &mut *value, variable)
    };
    if guard::nothing(variable.entry, || {
        fill(value, variable.read.and_then(|read| read(r)));
    }) {
        return NGX_OK as ngx_int_t;
    }
    let instead = Cell::new(None);
    guard::twice("revoke", || instead.set((variable.on_panic)(r)));
    if instead.get().is_none() {
        return NGX_ERROR as ngx_int_t;
    }
    fill(value, instead.get());
    NGX_OK as ngx_int_t
}

/// The same for one that there is nothing to read of.
unsafe extern "C" fn get_nothing(
    _: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes a value to fill.
    unsafe { (*value).set_not_found(1) };
    NGX_OK as ngx_int_t
}

fn fill(value: &mut ngx_http_variable_value_t, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            set_valid(value, bytes.len());
            value.data = bytes.as_ptr().cast_mut();
        }
        None => value.set_not_found(1),
    }
}

/// Says that there is a value, and how long it is. The generated code writes the 28 bits of the length one by one, several
/// times for each request: a thousand instructions.
fn set_valid(value: &mut ngx_http_variable_value_t, length: usize) {
    /// Bits of a length; the next one says that there is a value (`ngx_variable_value_t` of `ngx_string.h`).
    const BITS: u32 = 28;
    let length = length as u32 & ((1 << BITS) - 1);
    if cfg!(target_endian = "little") {
        let bits = length | 1 << BITS;
        value._bitfield_1 = __BindgenBitfieldUnit::new(bits.to_le_bytes());
    } else {
        value.set_len(length);
        value.set_valid(1);
        value.set_no_cacheable(0);
        value.set_not_found(0);
    }
    debug_assert!(value.len() == length && value.valid() == 1 && value.not_found() == 0);
}
