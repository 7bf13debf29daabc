# What `cmake --install` puts where. The static and the shared library may be
# installed into one prefix, one build after the other: each exports its own
# targets file, and asyncoreConfig.cmake chooses.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

get_target_property(type asyncore TYPE)
if(type STREQUAL "SHARED_LIBRARY")
    set(linkage shared)
else()
    set(linkage static)
endif()
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/asyncore)

target_include_directories(asyncore PUBLIC
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(DIRECTORY include/ TYPE INCLUDE FILES_MATCHING PATTERN *.h)
install(TARGETS asyncore EXPORT asyncore-${linkage})
install(EXPORT asyncore-${linkage} NAMESPACE asyncore::
    FILE asyncore-${linkage}.cmake DESTINATION ${package_dir})

if(PROJECT_VERSION_MAJOR EQUAL 0)
    set(compatibility SameMinorVersion)
else()
    set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file(asyncoreConfigVersion.cmake
    COMPATIBILITY ${compatibility})
configure_package_config_file(cmake/asyncoreConfig.cmake.in
    asyncoreConfig.cmake INSTALL_DESTINATION ${package_dir}
    NO_SET_AND_CHECK_MACRO)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/asyncoreConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/asyncoreConfigVersion.cmake
    DESTINATION ${package_dir})

# Paths in asyncore.pc start from where the file is, so that the prefix may be
# moved or chosen at installation; an absolute directory stays what it is.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(pc_prefix ${CMAKE_INSTALL_PREFIX})
    set(pc_libdir ${CMAKE_INSTALL_LIBDIR})
else()
    file(RELATIVE_PATH up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
    string(REGEX REPLACE "/$" "" up "${up}")
    set(pc_prefix "\${pcfiledir}/${up}")
    set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(pc_includedir ${CMAKE_INSTALL_INCLUDEDIR})
else()
    set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
# Where only libasyncore.a is installed a plain `pkg-config --libs` must link.
if(linkage STREQUAL "static")
    set(pc_threads " ${CMAKE_THREAD_LIBS_INIT}")
endif()
configure_file(cmake/asyncore.pc.in asyncore.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/asyncore.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
