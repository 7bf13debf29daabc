# The programs that measure within one process: instructions, memory, timers.
# bench/instructions and bench/scale run them.

set(micro_libev ${LIBEV} m)
set(micro_libevent ${LIBEVENT})
set(micro_libuv ${LIBUV} Threads::Threads ${CMAKE_DL_LIBS} rt)
set(micro_asyncore asyncore)

program(pipes_epoll)
foreach(library asyncore libev libevent libuv)
    program(pipes_${library} ${micro_${library}})
endforeach()

foreach(library asyncore libevent libuv)
    program(reply_${library} ${micro_${library}})
endforeach()

# The kernel, and the clock, that the libraries and the C library's stubs are
# stood in for by: see kernel.h and timers.h.
set(wrapped epoll_ctl epoll_wait epoll_pwait recv read readv send sendmsg write
    writev fcntl fcntl64 ioctl getsockopt setsockopt getsockname getpeername
    malloc calloc realloc)
list(TRANSFORM wrapped PREPEND "-Wl,--wrap=")
add_library(kernel OBJECT ${CMAKE_CURRENT_LIST_DIR}/kernel.c)
target_compile_definitions(kernel PRIVATE _GNU_SOURCE)
foreach(library asyncore libev libevent libuv)
    program(scale_${library} kernel ${micro_${library}})
    target_link_options(scale_${library} PRIVATE ${wrapped})
    program(timers_${library} ${micro_${library}})
    target_link_options(timers_${library} PRIVATE -Wl,--wrap=clock_gettime)
endforeach()
