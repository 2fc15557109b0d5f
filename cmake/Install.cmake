# SPDX-License-Identifier: MIT
# What "make install" copies: libraries, header, sttcp.pc, the CMake package, manual pages.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/sttcp)

install(TARGETS sttcp sttcp_static EXPORT sttcpTargets)
install(FILES include/sttcp.h TYPE INCLUDE)
install(EXPORT sttcpTargets NAMESPACE sttcp:: DESTINATION ${package_dir})

# Before 1.0 the interface may change with each minor version.
write_basic_package_version_file(sttcpConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/sttcpConfig.cmake ${PROJECT_BINARY_DIR}/sttcpConfigVersion.cmake
        DESTINATION ${package_dir})

set(atomic "")
if(STTCP_ATOMIC_LIBRARY)
	set(atomic " -l${STTCP_ATOMIC_LIBRARY}")
endif()
set(tls "")
foreach(library IN LISTS STTCP_TLS_LIBRARIES)
	# A name, or the path of one of the user's own.
	if(IS_ABSOLUTE ${library})
		string(APPEND tls " ${library}")
	else()
		string(APPEND tls " -l${library}")
	endif()
endforeach()
# Written while installing, so that "cmake --install build --prefix elsewhere" is right, too.
install(CODE "
	set(prefix \"\${CMAKE_INSTALL_PREFIX}\")
	set(libdir [[\${prefix}]])
	set(includedir [[\${prefix}]])
	cmake_path(APPEND libdir [[${CMAKE_INSTALL_LIBDIR}]])
	cmake_path(APPEND includedir [[${CMAKE_INSTALL_INCLUDEDIR}]])
	set(version ${PROJECT_VERSION})
	set(atomic [[${atomic}]])
	set(tls [[${tls}]])
	configure_file([[${PROJECT_SOURCE_DIR}/sttcp.pc.in]] [[${PROJECT_BINARY_DIR}/sttcp.pc]] @ONLY)
")
install(FILES ${PROJECT_BINARY_DIR}/sttcp.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(DIRECTORY share/sttcp DESTINATION ${CMAKE_INSTALL_DATADIR})

foreach(section 3 7)
	file(GLOB pages CONFIGURE_DEPENDS man/*.${section})
	if(pages)
		install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
	endif()
endforeach()

# "man sttcp_conn_send" shows sttcp(3), and so with each function of the header.
file(STRINGS include/sttcp.h functions REGEX "^STTCP_API .*sttcp_[a-z0-9_]+\\(")
list(TRANSFORM functions REPLACE "^.*[ *](sttcp_[a-z0-9_]+)\\(.*$" "\\1")
foreach(function IN LISTS functions)
	file(CONFIGURE OUTPUT man3/${function}.3 CONTENT ".so man3/sttcp.3\n" @ONLY)
	install(FILES ${PROJECT_BINARY_DIR}/man3/${function}.3
	        DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
endforeach()
