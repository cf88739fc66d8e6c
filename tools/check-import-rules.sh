#!/usr/bin/env bash
# Shows that the linter holds the import rules: builds a house of empty packages of the same names, lets every package
# import every other one and every library that has one home, a file for each, and compares what the linter refuses with
# what the tables below refuse. Takes a few seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

module=github.com/cht-dhis2/mediator
leaves="internal/exchange internal/issue"

# may PACKAGE: what of ours it may import.
may() {
  case $1 in
    mediator) echo "$packages" ;;
    handlers) echo "orchestration internal/ledger internal/openhim $leaves" ;;
    orchestration) echo "internal/cht internal/dhis2 internal/openhim internal/mapping internal/target internal/form internal/validation internal/ledger internal/notice $leaves" ;;
    internal/form) echo "internal/cht internal/dhis2 internal/mapping internal/target internal/validation $leaves" ;;
    internal/validation) echo "internal/mapping internal/dhis2 $leaves" ;;
    internal/target) echo "internal/cht $leaves" ;;
    internal/mapping) echo "internal/cht internal/dhis2 $leaves" ;;
    internal/ledger) echo "internal/dhis2 internal/target $leaves" ;;
    config | internal/cht | internal/dhis2 | internal/openhim | internal/notice | internal/transport) echo "$leaves" ;;
  esac
}
packages="mediator config handlers orchestration internal/cht internal/dhis2 internal/openhim internal/mapping internal/target internal/form internal/validation
  internal/ledger internal/notice internal/transport internal/exchange internal/issue internal/sandbox internal/newcomer"

# The home of each library.
libraries="github.com/gin-gonic/gin=handlers github.com/hashicorp/go-retryablehttp=internal/transport
  modernc.org/sqlite=internal/ledger github.com/jackc/pgx/v5=internal/ledger github.com/robfig/cron/v3=orchestration
  github.com/wneessen/go-mail=internal/notice github.com/alecthomas/kong=mediator github.com/knadh/koanf/v2=config"

# The folder is named like packages of ours, to show that where a clone lies makes no difference.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
house=$work/mediator/config
mkdir -p "$house"
cp .golangci.yml "$house"

count=0
# plant PACKAGE IMPORT VERDICT [_test]: a file of the package that imports it. Those of tests belong to PACKAGE_test, so
# that two packages may import each other without a cycle.
plant() {
  count=$((count + 1))
  printf 'package %s%s\n\nimport _ "%s"\n' "${1##*/}" "${4-}" "$2" > "$house/$1/$3_no$count${4-}.go" # a file named _386.go is one for that processor
}

printf 'module %s\n\ngo %s\n' "$module" "$(go list -f '{{.GoVersion}}' -m)" > "$house/go.mod"
for package in $packages; do
  mkdir -p "$house/$package"
  printf 'package %s\n' "${package##*/}" > "$house/$package/empty.go"
done
for library in $libraries; do
  path=${library%=*}
  name=$work/libraries/${path//\//_}
  mkdir -p "$name"
  printf 'module %s\n' "$path" > "$name/go.mod"
  printf 'package library\n' > "$name/library.go"
  case $path in */v5) version=v5.0.0 ;; */v3) version=v3.0.0 ;; */v2) version=v2.0.0 ;; *) version=v0.0.0 ;; esac
  printf 'require %s %s\nreplace %s => %s\n' "$path" "$version" "$path" "$name" >> "$house/go.mod"
done

for package in $packages; do
  for other in $packages; do
    [ "$package" = "$other" ] && continue
    verdict=refused
    case " $(may "$package" | tr '\n' ' ') internal/sandbox " in *" $other "*) verdict=allowed ;; esac
    # The tests of the door stand up the whole flow; the door itself is tried below.
    case $package:$other in handlers:internal/cht | handlers:internal/dhis2) verdict=allowed ;; esac
    case $package:$other in internal/exchange:* | internal/issue:* | internal/newcomer:*) verdict=refused ;; esac
    plant "$package" "$module/$other" $verdict _test
  done
  for library in $libraries; do
    verdict=refused
    [ "${library#*=}" = "$package" ] && verdict=allowed
    plant "$package" "${library%=*}" $verdict
  done
  verdict=refused
  [ "$package" = mediator ] && verdict=allowed
  [ "$package" = internal/sandbox ] || plant "$package" "$module/internal/sandbox" $verdict
done
for other in internal/cht internal/dhis2; do
  plant handlers "$module/$other" refused
done
for path in net/http database/sql; do
  plant internal/mapping $path refused
  plant internal/validation $path refused
  plant internal/ledger $path allowed
done
printf 'package mapping\n\nimport "time"\n\nvar now = time.Now\n' > "$house/internal/mapping/refused_clock.go"
printf 'package cht\n\nimport "time"\n\nvar now = time.Now\n' > "$house/internal/cht/allowed_clock.go"

lint=(go tool -modfile="$PWD/tools/go.mod" golangci-lint run --enable-only depguard,forbidigo)
(cd "$house" && "${lint[@]}" --output.text.path="$work/report" ./... > "$work/output" 2>&1) || true
if [ ! -s "$work/report" ]; then
  cat "$work/output"
  exit 1
fi

(cd "$house" && find . -name 'refused_*.go' | sed 's|^\./||' | sort) > "$work/want"
sed -nE 's/^([^: ]+\.go):[0-9]+.*\((depguard|forbidigo)\)$/\1/p' "$work/report" | sort -u > "$work/got"
if ! diff "$work/want" "$work/got" > "$work/difference"; then
  echo "The linter does not hold the import rules. Lines with < should be refused and are not, with > the other way:"
  while read -r sign file; do
    case $sign in [\<\>]) echo "$sign ${file%/*} imports $(sed -n 's/^import _\{0,1\} *//p' "$house/$file")" ;; esac
  done < "$work/difference"
  cat "$work/output"
  exit 1
fi
echo "import rules: $(wc -l < "$work/want") forbidden imports refused, $((count + 2 - $(wc -l < "$work/want"))) allowed ones pass"
