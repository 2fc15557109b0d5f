#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The demonstration writes nothing to standard error when all goes well. A program of ours stands in
# for the example, and a grep of ours for the system's: it looks at the program only after the shell
# that waits for it has waited for the program, too, which by chance happens now and then.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tries=$((${STTCP_TEST_DEADLINE_S:-20} * 50))
mkdir "$work/examples" "$work/bin"

# until_true COMMAND...: looks every 20 ms until the command succeeds.
cat >"$work/until_true" <<END
until_true()
{
	left=$tries
	until "\$@"; do
		[ "\$left" -gt 0 ] || exit 3
		left=\$((left - 1))
		sleep 0.02
	done
}
END

cat >"$work/examples/01_meow" <<END
#!/bin/sh
. "$work/until_true"
trap ': >"$work/interrupted"' INT
echo 'Disconnected by somebody'
echo 'Disconnected from somewhere'
until_true [ -e "$work/interrupted" ]
until_true [ -e "$work/looking" ]
exit 0
END

cat >"$work/bin/grep" <<END
#!/bin/sh
. "$work/until_true"
gone()
{
	[ ! -e "\$1" ]
}
for file in "\$@"; do :; done
case \$file in
/proc/*)
	if [ -e "$work/interrupted" ]; then
		: >"$work/looking"
		until_true gone "\$file"
	fi
	;;
esac
exec $(command -v grep) "\$@"
END
chmod +x "$work/examples/01_meow" "$work/bin/grep"

if ! PATH=$work/bin:$PATH "$STTCP_SOURCE_DIR/scripts/demo.sh" "$work" >"$work/out" 2>"$work/err"; then
	cat "$work/out" "$work/err" >&2
	exit 1
fi
[ -e "$work/looking" ] || { echo "the demonstration did not look while the program ended" >&2 && exit 1; }
if [ -s "$work/err" ]; then
	echo "the demonstration wrote to standard error:" >&2
	cat "$work/err" >&2
	exit 1
fi
