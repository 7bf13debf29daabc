# The programs that measure within one process: instructions, memory, timers.
# bench/instructions and bench/scale run them.

# The peers are linked statically, as the library is, so that nobody pays for
# the indirect calls of shared libraries.
function(micro_program name)
    add_executable(${name} ${name}.c)
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
    target_link_libraries(${name} PRIVATE ${ARGN})
    set_target_properties(${name} PROPERTIES C_STANDARD 11)
endfunction()

micro_program(pipes_raw)
micro_program(pipes_asyncore asyncore)
micro_program(reply_asyncore asyncore)
