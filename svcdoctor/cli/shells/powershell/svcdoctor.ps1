# PowerShell completion of svcdoctor; made by "svcdoctor completion powershell"

Register-ArgumentCompleter -Native -CommandName 'svcdoctor', 'kubectl-svcdoctor' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $words = @(
        $commandAst.CommandElements |
            Where-Object { $_.Extent.EndOffset -lt $cursorPosition -or ($_.Extent.EndOffset -eq $cursorPosition -and -not $wordToComplete) } |
            ForEach-Object { $_.Extent.Text.Trim('"', "'") }
    )
    $program = $words[0]
    $arguments = @($words | Select-Object -Skip 1)
    # Before 7.3 an empty word would be left out.
    $current = if ($wordToComplete) { $wordToComplete.Trim('"', "'") } else { '""' }
    $lines = @(& $program __complete @arguments $current 2>$null)
    $directive = 0
    if ($lines.Count -and $lines[-1] -match '^:(\d+)$') {
        $directive = [int]$Matches[1]
        $lines = @($lines | Select-Object -SkipLast 1)
    }
    $flag = if ($wordToComplete -match '^(-[^=]*=)') { $Matches[1] } else { '' }
    $space = if ($directive -band 2) { '' } else { ' ' }
    foreach ($line in $lines) {
        $value, $meaning = $line -split "`t", 2
        if (-not $meaning) { $meaning = $value }
        [System.Management.Automation.CompletionResult]::new("$flag$value$space", $value, 'ParameterValue', $meaning)
    }
    if (-not $lines.Count -and ($directive -band 4)) {
        # Otherwise PowerShell would offer files.
        ''
    }
}
