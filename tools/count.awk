# count.awk - reads `ctest -V`; prints what failed and what was skipped, then a last line
# "PASSED FAILED SKIPPED".
function number(text, word) { # the number behind "word: "
    sub(".*" word ": *", "", text)
    return text + 0
}
# Output of test n begins with "n: ".
match($0, /^[0-9]+: /) {
    id = substr($0, 1, RLENGTH - 2)
    text = substr($0, RLENGTH + 1)
    output[id] = output[id] "    " text "\n"
    if (text ~ /Synthesis: Tested:/) {
        counted[id] = 1
        pass[id] += number(text, "Passing")
        fail[id] += number(text, "Failing") + number(text, "Crashing")
    }
    if (text ~ /^\[SKIP\]/) skip[id]++
    if (text ~ /^skipped:/) reason[id] = text
    if (text ~ /ERROR: AddressSanitizer|LeakSanitizer: detected|runtime error:/) report[id]++
}
# "  3/20 Test  #3: host_base_json ......   Passed    0.02 sec"
/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
    id = $0
    sub(/^[^#]*#/, "", id)
    sub(/:.*/, "", id)
    name[id] = $0
    sub(/^[^#]*#[0-9]+: /, "", name[id])
    sub(/ .*/, "", name[id])
    done[id] = /[ .]Passed +[0-9.]+ sec/ ? "passed" : /\*\*\*Skipped/ ? "skipped" : "failed"
}
END {
    for (id in name) {
        f = fail[id] + 0
        if (report[id]) f++
        if (done[id] == "failed" && f == 0) f = 1
        if (f) printf "FAILED %s:\n%s", name[id], output[id]
        failed += f
        if (counted[id]) {
            passed += pass[id]
            skipped += skip[id]
            if (skip[id]) {
                printf "skipped %d of %s:\n", skip[id], name[id]
                n = split(output[id], line, "\n")
                for (i = 1; i <= n; i++) if (line[i] ~ /\[SKIP\]/) print line[i]
            }
        } else if (done[id] == "passed" && !f) {
            passed++
        } else if (done[id] == "skipped") {
            skipped++
            print "skipped " name[id] ": " reason[id]
        }
    }
    tests = 0
    for (id in name) tests++
    if (tests == 0) {
        print "FAILED: ctest ran no test"
        failed++
    }
    print passed + 0, failed + 0, skipped + 0
}
