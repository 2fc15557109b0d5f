#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks who calls whom, by the symbols of the compiled objects (nm): no module may use a function or
# an object of a layer above its own (scripts/layers), and no more than three modules of a folder may
# call each other in a circle. What the compiler inlines counts as its caller's.
#
#	scripts/check-circles.sh [build directory]
#	scripts/check-circles.sh --self-test
#
# A module is a .c file. For each folder it prints how many there are, how many calls from one to
# another, and the largest circle (set of modules of which each reaches each other).
set -eu

# check LAYERS SOURCES OBJECTS: folder/module.c is below SOURCES, folder/module.c.o below OBJECTS. Of
# a source that is gone or has moved an object may be left.
check()
{
	layers=$1 sources=$2
	cd "$3"
	# Object, name, type, value, size of what others can see.
	find . -name '*.o' -exec nm -APg {} + | sed 's,^\./,,; s/: / /' | sort | awk -v most=3 -v sources="$sources" '
		FNR == NR {
			if ($1 != "#" && NF) {
				order[++nlayers] = $1
				for (i = 2; i <= NF; i++)
					may[$1, $i] = 1
			}
			next
		}
		{
			module = $1
			sub(/\.c\.o$/, "", module)
			if (!(module in there)) {
				there[module] = (getline line <(sources "/" module ".c")) >= 0
				close(sources "/" module ".c")
			}
			if (!there[module])
				next
			if (!(module in seen)) {
				seen[module] = 1
				modules[++nmodules] = module
				split(module, part, "/")
				folder[module] = part[1]
				members[part[1]]++
			}
			if ($3 == "U")
				uses[++nuses] = module " " $2
			else
				home[$2] = module
		}
		function largest_circle(where,    i, j, size, best, text, here) {
			best = 0
			circle = ""
			for (i = 1; i <= nmodules; i++) {
				here = modules[i]
				if (where != "" && folder[here] != where)
					continue
				size = 0
				text = ""
				for (j = 1; j <= nmodules; j++)
					if (here == modules[j] || (reach[where, here, modules[j]] &&
					    reach[where, modules[j], here])) {
						size++
						text = text " " modules[j]
					}
				if (size > best) {
					best = size
					circle = text
				}
			}
			return best
		}
		# All that can be reached: the modules are few.
		function close_over(where,    i, j, k) {
			for (i = 1; i <= nmodules; i++)
				for (j = 1; j <= nmodules; j++)
					if (calls[modules[i], modules[j]] && (where == "" ||
					    (folder[modules[i]] == where && folder[modules[j]] == where)))
						reach[where, modules[i], modules[j]] = 1
			for (k = 1; k <= nmodules; k++)
				for (i = 1; i <= nmodules; i++)
					if (reach[where, modules[i], modules[k]])
						for (j = 1; j <= nmodules; j++)
							if (reach[where, modules[k], modules[j]])
								reach[where, modules[i], modules[j]] = 1
		}
		END {
			for (i = 1; i <= nuses; i++) {
				split(uses[i], part, " ")
				from = part[1]
				to = home[part[2]]
				if (to == "" || to == from)
					continue
				if (!calls[from, to]++ && folder[from] == folder[to])
					arrows[folder[from]]++
				if (folder[from] != folder[to] && !may[folder[from], folder[to]]) {
					print from ": uses " part[2] " of " to ", a layer above"
					failed = 1
				}
			}
			if (!nmodules) {
				print "there are no objects"
				exit 1
			}
			for (l = 1; l <= nlayers; l++) {
				name = order[l]
				if (!members[name])
					continue
				close_over(name)
				size = largest_circle(name)
				if (size == 1)
					circle = ""
				printf "%s: %d modules, %d calls, largest circle %d%s\n", name, members[name],
				       arrows[name], size, circle
				if (size > most) {
					print name ": a circle of more than " most " modules"
					failed = 1
				}
			}
			close_over("")
			print "all: " nmodules " modules, largest circle " largest_circle("")
			exit failed
		}' "$layers" -
}

# source FOLDER/MODULE CALLED...: a module that defines a function of its own name and calls others.
source_of()
{
	module=$1
	own=$(basename "$module")
	shift
	mkdir -p "$work/$(dirname "$module")"
	{
		for called in "$@"; do
			echo "void $called(void);"
		done
		echo "void $own(void);"
		echo "void $own(void)"
		echo "{"
		for called in "$@"; do
			echo "	$called();"
		done
		echo "}"
	} >"$work/$module.c"
	${CC:-cc} -c -o "$work/$module.c.o" "$work/$module.c"
}

expect()
{
	wanted=$1
	(check "$work/layers" "$work" "$work") >"$work/output" 2>&1 && result=passes || result=fails
	if [ "$result" != "$wanted" ] || ! grep -q "$2" "$work/output"; then
		echo "check-circles: a tree that $wanted, and says \"$2\", did this:"
		cat "$work/output"
		return 1
	fi
}

self_test()
{
	printf '# of two layers\nlow\nhigh low\n' >"$work/layers"
	expect fails 'no objects'
	source_of low/a b
	source_of low/b c
	source_of low/c a
	source_of high/d a b
	expect passes 'low: 3 modules, 3 calls, largest circle 3 low/a low/b low/c'
	expect passes 'high: 1 modules, 0 calls, largest circle 1$'
	source_of low/e f
	source_of low/f a
	source_of low/c e
	expect fails 'low: a circle of more than 3'
	source_of low/f
	expect passes 'largest circle 1$'
	source_of low/f d
	expect fails 'low/f: uses d of high/d, a layer above'
	rm "$work/low/f.c"
	expect passes 'low: 4 modules'
}

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case ${1:-} in
--self-test) self_test && echo "check-circles: the check finds what it has to" ;;
*) check "$root/scripts/layers" "$root/src" "${1:-$root/build}/CMakeFiles/sttcp_objects.dir/src" ;;
esac
