# SPDX-License-Identifier: MIT
# Completion of sttcp(1) for bash.

_sttcp_options()
{
	case $1 in
	echo)
		echo '--client-ca --drain --framing --idle --json --log --max --max-message --per-ip
			--stats --tls' ;;
	chat)
		echo '--client-ca --drain --idle --json --log --max --per-ip --stats --tls' ;;
	listen)
		echo '--client-ca --drain --framing --idle --keep --log --max-message --raw --tls' ;;
	connect)
		echo '--ca --cert --connect-timeout --framing --idle --insecure --log --max-message
			--raw --tls --tls-name' ;;
	exec)
		echo '--client-ca --drain --stderr --idle --json --log --max --per-ip --stats --tls' ;;
	proxy)
		echo '--balance --client-ca --connect-timeout --drain --idle --json --log --max
			--per-ip --retry --stats --target-ca --target-insecure --target-name --target-tls
			--tls' ;;
	dump)
		echo '--bytes --client-ca --connect-timeout --drain --framing --idle --json --log --max
			--max-message --per-ip --stats --target-ca --target-insecure --target-name
			--target-tls --tls --hex' ;;
	receive)
		echo '--client-ca --drain --force --idle --json --log --resume --tls' ;;
	send)
		echo '--ca --cert --connect-timeout --insecure --json --log --plain --tls --tls-name
			--wait' ;;
	bench)
		echo '--ca --cert --connect-timeout --connections --depth --framing --insecure --json
			--log --max-message --plot --reply-size --request --rate --size --tls --tls-name
			--duration' ;;
	esac
}

# Bash puts the slash behind folders, and quotes.
_sttcp_files()
{
	compopt -o filenames 2>/dev/null || true
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# Behind "unix:" comes the name of a file. Where a colon is a part of words Bash does not know it for
# one, so what Bash does to names is done here.
_sttcp_sockets()
{
	local i

	if [[ ${COMP_WORDBREAKS-} == *:* ]]; then
		_sttcp_files "${1#unix:}"
	else
		compopt -o nospace 2>/dev/null || true
		mapfile -t COMPREPLY < <(compgen -f -- "${1#unix:}")
		for i in "${!COMPREPLY[@]}"; do
			if [[ -d ${COMPREPLY[i]} ]]; then
				COMPREPLY[i]+=/
			fi
		done
	fi
	COMPREPLY=("${COMPREPLY[@]/#/unix:}")
}

# Into `words`: those of the line, up to the cursor. Bash cuts them at each colon and equals sign,
# and only the line tells whether a space was there, too.
_sttcp_join()
{
	local line=${COMP_LINE-} token spaced i

	words=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		token=${COMP_WORDS[i]}
		spaced=
		if [[ $line == [[:space:]]* ]]; then
			spaced=yes
			line=${line#"${line%%[![:space:]]*}"}
		fi
		line=${line#"$token"}
		if [[ ${#words[@]} -gt 1 && -z $spaced && ($token == [:=]* || ${words[-1]} == *[:=]) ]]; then
			words[-1]+=$token
		else
			words+=("$token")
		fi
	done
}

# Bash puts an answer in the place of what stands behind the last colon or equals sign, or of the
# whole word where they do not cut it.
_sttcp_trim()
{
	local word=$1 option=$2

	if [[ ${COMP_WORDBREAKS-} == *:* && $word == *:* ]]; then
		COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}")
	elif [[ $option && ${COMP_WORDBREAKS-=} != *=* ]]; then
		COMPREPLY=("${COMPREPLY[@]/#/$option=}")
	fi
}

_sttcp_answer()
{
	local verb=$1 before=$2 word=$3
	local verbs='echo chat listen connect exec proxy dump receive send bench'

	if [[ -z $verb ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$verbs help --help --version" -- "$word")
		return
	fi
	case $before in
	--log)
		mapfile -t COMPREPLY < <(compgen -W 'none error warning info trace' -- "$word")
		return
		;;
	--balance)
		mapfile -t COMPREPLY < <(compgen -W 'turn fewest' -- "$word")
		return
		;;
	--framing)
		mapfile -t COMPREPLY < <(compgen -W 'raw line delimiter: length:1 length:2 length:3 length:4 length:8 length:varint fixed:' -- "$word")
		return
		;;
	--ca | --cert | --client-ca | --plot | --target-ca | --tls)
		_sttcp_files "$word"
		return
		;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$word")
		return
		;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_sttcp_options "$verb") --help" -- "$word")
	elif [[ $word == unix:* ]]; then
		_sttcp_sockets "$word"
	elif [[ $verb == send || $verb == receive ]]; then
		_sttcp_files "$word"
	elif [[ $verb == exec ]]; then
		mapfile -t COMPREPLY < <(compgen -c -- "$word")
	fi
}

_sttcp()
{
	local words word before option=

	COMPREPLY=()
	_sttcp_join
	word=${words[-1]}
	before=${words[-2]}
	if [[ $word == --*=* ]]; then
		option=${word%%=*}
		before=$option
		word=${word#*=}
	fi
	if [[ ${#words[@]} -eq 2 ]]; then
		_sttcp_answer '' '' "$word"
	else
		_sttcp_answer "${words[1]}" "$before" "$word"
	fi
	_sttcp_trim "$word" "$option"
}

complete -F _sttcp sttcp
