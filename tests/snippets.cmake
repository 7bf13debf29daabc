# The servers that README.md, asyncore.h and the guide show are built as they
# stand there, but for the address, and run.

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/include/asyncore.h
    ${PROJECT_SOURCE_DIR}/docs/guide.md)

# What is in the file between the first start and the end that follows it.
function(read_between file start end result)
    file(READ ${file} text)
    string(FIND "${text}" "${start}" from)
    string(LENGTH "${start}" skipped)
    math(EXPR from "${from} + ${skipped}")
    string(SUBSTRING "${text}" ${from} -1 text)
    string(FIND "${text}" "${end}" size)
    string(SUBSTRING "${text}" 0 ${size} text)
    set(${result} "${text}" PARENT_SCOPE)
endfunction()

function(build_snippet name code)
    file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${name}.c
        CONTENT "${code}\n")
    add_executable(${name} ${CMAKE_CURRENT_BINARY_DIR}/${name}.c)
    target_link_libraries(${name} PRIVATE asyncore::asyncore)
    target_compile_options(${name} PRIVATE -Wno-unused-parameter)
endfunction()

# What a client is to send, and to get back, may follow.
function(add_snippet name code)
    set(original "${code}")
    string(REPLACE "\"127.0.0.1:8007\"" "getenv(\"ADDRESS\")" code "${code}")
    if(code STREQUAL original)
        message(FATAL_ERROR "${name}: no server found")
    endif()
    build_snippet(${name} "${code}")
    add_ctest(${name} BACKENDS "" ${CMAKE_CURRENT_SOURCE_DIR}/snippet.sh
        $<TARGET_FILE:${name}> $<TARGET_FILE:echo_client> ${ARGN})
endfunction()

read_between(${PROJECT_SOURCE_DIR}/README.md "\n```c\n" "\n```\n" code)
add_snippet(readme "${code}")

read_between(${PROJECT_SOURCE_DIR}/include/asyncore.h
    "An echo server, whole:\n *" "\n *\n * (" code)
string(REPLACE "\n *     " "\n" code "${code}")
string(REPLACE "\n *\n" "\n\n" code "${code}")
string(PREPEND code
    "#include <asyncore.h>\n#include <stdlib.h>\n#include <unistd.h>\n")
add_snippet(manual "${code}")

read_between(${PROJECT_SOURCE_DIR}/docs/guide.md
    "sends them\nback:\n\n```c\n" "\n```\n" code)
add_snippet(guide "${code}" [[5\nhello3\nabc]] helloabc)

# It would knock at a door for ever; that it is built will do.
read_between(${PROJECT_SOURCE_DIR}/docs/guide.md
    "that has just come back:\n\n```c\n" "\n```\n" code)
build_snippet(guide_client "${code}")

# Parts of a program: a handler, and calls. They are built, too.
read_between(${PROJECT_SOURCE_DIR}/docs/guide.md
    "says so, first of all:\n\n```c\n" "\n```\n" fork)
read_between(${PROJECT_SOURCE_DIR}/docs/guide.md
    "look for something, or for good:\n\n```c\n" "\n```\n" calls)
build_snippet(guide_parts "#include <asyncore.h>
#include <unistd.h>

static void serve(int fd, asyncore_map *map)
{
    close(fd);
}

${fork}

int main(void)
{
    static const asyncore_handlers server = { .handle_accepted = accepted };
    asyncore_map *map = asyncore_socket_map();

${calls}
    return server.handle_accepted == NULL;
}")
