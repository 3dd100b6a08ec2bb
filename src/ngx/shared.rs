//! Memory that all workers share.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;

use ngx::allocator::Allocator;
use ngx::core::{Pool, SlabPool};
use ngx::ffi::{
    NGX_ERROR, NGX_OK, ngx_conf_t, ngx_int_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_str_t,
};
use ngx::http::HttpModule;
use zerocopy::FromBytes;

use super::guard;

/// What is laid out in a zone. It is kept over a reload, as long as the zone's name and size stay.
pub trait Layout: Clone + 'static {
    /// Lays fresh memory of `size` bytes out. None if it is too small.
    fn create(memory: SlabPool, size: usize) -> Option<Self>;
}

/// A zone that the configuration declares.
pub struct SharedZone<T> {
    zone: NonNull<ngx_shm_zone_t>,
    kind: std::marker::PhantomData<T>,
}

/// Declares a zone of a module.
///
/// # Errors
/// Another module has it, or it is declared with two sizes; or there is no memory.
pub fn declare<M: HttpModule, T: Layout>(
    cf: &mut ngx_conf_t,
    name: &str,
    size: usize,
) -> Result<SharedZone<T>, String> {
    let no_memory = || "there is no memory left".to_owned();
    // SAFETY: a configuration has a pool, which lives as long as the description of its zones.
    let (pool, name) = unsafe {
        let name = ngx_str_t::from_bytes(cf.pool, name.as_bytes());
        (Pool::from_ngx_pool(cf.pool), name)
    };
    let mut name = name.ok_or_else(no_memory)?;
    let tag = ptr::from_ref(M::module()).cast_mut().cast();
    // SAFETY: the arguments are as nginx wants them; the tag marks the zone as the module's.
    let zone = unsafe { ngx_shared_memory_add(cf, &mut name, size, tag).as_mut() };
    let zone = zone.ok_or("the zone is another module's, or declared with two sizes")?;
    zone.init = Some(init::<T>);
    zone.data = pool.allocate(None::<T>).cast();
    if zone.data.is_null() {
        return Err(no_memory());
    }
    Ok(SharedZone {
        zone: NonNull::from(zone),
        kind: std::marker::PhantomData,
    })
}

impl<T: Layout> SharedZone<T> {
    /// What is in it; none before nginx has mapped it.
    pub fn get(&self) -> Option<T> {
        // SAFETY: nginx keeps the description for as long as the configuration that this is part of, and declare()
        // has given it its data.
        unsafe { (*(*self.zone.as_ptr()).data.cast::<Option<T>>()).clone() }
    }
}

/// Called by nginx when the memory is mapped, with the former configuration's data if the zone stays the same.
unsafe extern "C" fn init<T: Layout>(zone: *mut ngx_shm_zone_t, former: *mut c_void) -> ngx_int_t {
    guard::status("zone_init", || {
        // SAFETY: nginx passes a zone that declare() has set up, mapped, and former data of the same kind.
        let (data, former, memory, size) = unsafe {
            let zone = &mut *zone;
            (
                &mut *zone.data.cast::<Option<T>>(),
                former.cast::<Option<T>>().as_ref(),
                SlabPool::from_shm_zone(zone),
                zone.shm.size,
            )
        };
        *data = match former {
            Some(former) => former.clone(),
            None => memory.and_then(|memory| T::create(memory, size)),
        };
        if data.is_some() {
            NGX_OK as ngx_int_t
        } else {
            NGX_ERROR as ngx_int_t
        }
    })
}

/// Something in a zone, for good.
///
/// What workers share is mapped for as long as they work with their configuration, and a thread that is given this
/// must end before that does.
pub struct Shared<T: ?Sized>(NonNull<T>);

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Shared<T> {}

// SAFETY: it is only ever shared, which T allows for.
unsafe impl<T: ?Sized + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Shared<T> {}

impl<T: Sync> Shared<[T]> {
    /// Allocates several in a zone. None if there is no room.
    pub fn allocate(memory: &SlabPool, count: usize, make: impl Fn() -> T) -> Option<Self> {
        let layout = std::alloc::Layout::array::<T>(count).ok()?;
        let first = memory.allocate(layout).ok()?.cast::<T>();
        for at in 0..count {
            // SAFETY: there is room for so many.
            unsafe { first.add(at).write(make()) };
        }
        Some(Self(NonNull::slice_from_raw_parts(first, count)))
    }

    /// The same, of what any bytes are one of: those that are there stay. Memory that is only taken costs nothing until it is
    /// used.
    pub fn allocate_as_it_is(memory: &SlabPool, count: usize) -> Option<Self>
    where
        T: FromBytes,
    {
        let layout = std::alloc::Layout::array::<T>(count).ok()?;
        let first = memory.allocate(layout).ok()?.cast::<T>();
        Some(Self(NonNull::slice_from_raw_parts(first, count)))
    }

    /// What there is.
    pub fn get(&self) -> &[T] {
        // SAFETY: the kernel has mapped so many with bytes in them, and allocate() has filled them or any bytes will do. They
        // stay mapped, and nobody has them for themselves.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast::<T>(), self.0.len()) }
    }
}
